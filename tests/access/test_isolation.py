"""Nothing of one database is to be had from another: two with everything alike, and attempts to get across."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.access.operating import Client, Operator, eventually
from tests.conftest import PROVIDER_SECRET
from tests.live import Orrery
from tests.upstream.server import Upstream

#: What only the first database has. None of it may ever be in an answer to the second one's client.
SECRET_TEXT = "the treasure is under the old oak"
SECRET_NAMES = ("secret_keyspace", "secret_collection", "treasure", "secret-key")
HOME = "/v1/default_keyspace"
THINGS = f"{HOME}/things"
MODEL = {"provider": "huggingface", "modelName": "sentence-transformers/all-MiniLM-L6-v2"}
Make = Callable[..., Client]
_numbers = itertools.count()


def embedding(key: str) -> dict[str, Any]:
    """Return options of a collection that embeds with a key."""
    return {"vector": {"service": {**MODEL, "authentication": {"providerKey": key}}}}


@dataclass
class Pair:
    """Two databases, each with a client of its own."""

    mine: str
    yours: str
    me: Client
    you: Client


@pytest.fixture
def pair(server: Orrery, operator: Operator, client: Make) -> Iterator[Pair]:
    """Two databases with the same names in them; only the first one's collection has documents of the secret."""
    mine, yours = (f"{side}-{next(_numbers)}" for side in ("mine", "yours"))
    operator.create(mine, "default_keyspace", "secret_keyspace")
    operator.create(yours)
    made = Pair(mine, yours, client(mine), client(yours))
    for one in (made.me, made.you):
        one.answer(HOME, {"createCollection": {"name": "things", "options": {"vector": {"dimension": 2}}}})
    made.me.answer("/v1/secret_keyspace", {"createCollection": {"name": "secret_collection"}})
    documents = [{"_id": f"treasure{n}", "text": SECRET_TEXT, "$vector": [1, n]} for n in range(60)]
    made.me.answer(THINGS, {"insertMany": {"documents": documents}})
    made.you.answer(THINGS, {"insertOne": {"document": {"_id": "stone", "$vector": [1, 0]}}})
    yield made
    for name in {mine, yours}.intersection(operator.names()):
        operator.begin_drop(name)


def tells_nothing(answer: dict[str, Any]) -> bool:
    """Tell whether nothing of the first database is in an answer."""
    text = json.dumps(answer)
    return SECRET_TEXT not in text and not any(name in text for name in SECRET_NAMES)


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("/v1", {"findKeyspaces": {}}),
        (HOME, {"findCollections": {}}),
        (HOME, {"findCollections": {"options": {"explain": True}}}),
        (f"{HOME}/none", {"find": {}}),
        ("/v1/none/none", {"find": {}}),
        (THINGS, {"find": {}}),
        (THINGS, {"find": {"sort": {"$vector": [1, 0]}, "options": {"limit": 1000}}}),
        (THINGS, {"findOne": {"filter": {"_id": "x"}}}),
        (THINGS, {"find": {"sort": {"text": 1}}}),
    ],
)
def test_no_answer_tells_of_the_other_database(pair: Pair, path: str, command: dict[str, Any]) -> None:
    assert tells_nothing(pair.you.send(path, command).json())


def test_the_same_names_are_different_things(pair: Pair) -> None:
    assert pair.you.answer(THINGS, {"countDocuments": {}})["status"] == {"count": 1}
    found = pair.you.answer(THINGS, {"find": {"sort": {"$vector": [1, 3]}, "options": {"limit": 100}}})
    assert [document["_id"] for document in found["data"]["documents"]] == ["stone"]

    pair.you.answer(THINGS, {"insertOne": {"document": {"_id": "treasure0"}}})
    pair.you.answer(THINGS, {"deleteMany": {}})
    pair.you.answer(HOME, {"deleteCollection": {"name": "things"}})
    pair.you.answer("/v1", {"dropKeyspace": {"name": "default_keyspace"}})
    pair.you.answer("/v1", {"dropKeyspace": {"name": "secret_keyspace"}})

    assert pair.me.answer(THINGS, {"countDocuments": {}})["status"] == {"count": 60}
    assert pair.me.keyspaces() == ["default_keyspace", "secret_keyspace"]


@pytest.mark.parametrize(
    "keyspace",
    [
        "secret_keyspace",
        "{mine}.secret_keyspace",
        "{mine}%2Fsecret_keyspace",
        "..%2F{mine}%2Fsecret_keyspace",
        "%2E%2E",
        "'%20OR%20database%20=%20'{mine}",
    ],
)
def test_no_keyspace_leads_into_the_other_database(pair: Pair, keyspace: str) -> None:
    path = f"/v1/{keyspace.format(mine=pair.mine)}"

    assert pair.you.code(path, {"findCollections": {}}) == "UNKNOWN_KEYSPACE"
    assert pair.you.code(f"{path}/secret_collection", {"find": {}}) == "UNKNOWN_KEYSPACE"


def test_a_token_of_one_database_opens_the_other_in_no_way(pair: Pair, server: Orrery) -> None:
    listed = json.loads(server.command("databases", "list", "--json").stdout)
    (identifier,) = (item["id"] for item in listed if item["name"] == pair.mine)

    for host in (f"{pair.mine}.localhost", f"{identifier}.localhost", f"{pair.mine}-eu-west1.data.example.org"):
        outsider = Client(server.url, host, pair.you.token)
        for path, command in (("/v1", {"findKeyspaces": {}}), (THINGS, {"find": {}}), ("/v1/x/y", {"find": {}})):
            response = outsider.send(path, command)
            assert (response.status_code, tells_nothing(response.json())) == (401, True)
    assert Client(server.url, f"{pair.mine}.localhost", pair.me.token).keyspaces()


def test_a_page_state_of_one_collection_is_refused_by_the_other(pair: Pair) -> None:
    first = pair.me.answer(THINGS, {"find": {}})["data"]["nextPageState"]
    assert first

    assert pair.you.code(THINGS, {"find": {"options": {"pageState": first}}}) == "COMMAND_FIELD_VALUE_INVALID"
    assert pair.me.answer(THINGS, {"find": {"options": {"pageState": first}}})["data"]["documents"]


def test_a_key_of_one_database_looks_to_the_other_as_one_that_is_not_there(pair: Pair, server: Orrery) -> None:
    server.add_key("huggingface", f"secret-key-{pair.mine}", PROVIDER_SECRET, pair.mine)
    collection = {"name": "texts", "options": embedding(f"secret-key-{pair.mine}")}
    absent = {"name": "texts", "options": embedding(f"absent-key-{pair.mine}")}
    pair.me.answer(HOME, {"createCollection": collection})

    (out_of_scope,) = pair.you.answer(HOME, {"createCollection": collection})["errors"]
    (not_there,) = pair.you.answer(HOME, {"createCollection": absent})["errors"]

    assert out_of_scope["errorCode"] == not_there["errorCode"] == "VECTORIZE_CREDENTIAL_INVALID"
    assert out_of_scope["message"].replace("secret-key", "absent-key") == not_there["message"]


def test_vectors_that_one_database_paid_for_are_not_remembered_for_the_other(
    pair: Pair, server: Orrery, upstream: Upstream
) -> None:
    key = f"both-{pair.mine}"
    server.add_key("huggingface", key, PROVIDER_SECRET, pair.mine, pair.yours)
    upstream.reset()
    for one in (pair.me, pair.me, pair.you):
        one.answer(HOME, {"createCollection": {"name": "texts", "options": embedding(key)}})
        one.answer(f"{HOME}/texts", {"insertOne": {"document": {"$vectorize": SECRET_TEXT}}})

    # The second text of the first database came from the cache, the other database's did not.
    assert len(upstream.requests) == 2


def test_a_backup_has_one_database_and_a_restore_changes_one(pair: Pair, server: Orrery, tmp_path: Path) -> None:
    done = server.command("backup", str(tmp_path / "b"), "--database", pair.yours)
    assert done.returncode == 0, done.stderr
    assert all(SECRET_TEXT.encode() not in file.read_bytes() for file in (tmp_path / "b").rglob("*") if file.is_file())
    pair.you.answer(THINGS, {"deleteMany": {}})

    done = server.command("restore", str(tmp_path / "b"), "--replace")

    assert done.returncode == 0, done.stderr
    assert pair.you.answer(THINGS, {"countDocuments": {}})["status"] == {"count": 1}
    assert pair.me.answer(THINGS, {"countDocuments": {}})["status"] == {"count": 60}


def test_a_later_database_of_the_name_inherits_nothing(
    pair: Pair, server: Orrery, operator: Operator, client: Make
) -> None:
    key = f"inherited-{pair.mine}"
    server.add_key("huggingface", key, PROVIDER_SECRET, pair.mine, "default")
    pair.me.answer(HOME, {"createCollection": {"name": "texts", "options": embedding(key)}})
    everywhere = client(host=f"{pair.mine}.localhost", token=operator.token())
    page = everywhere.answer(THINGS, {"find": {}})["data"]["nextPageState"]

    operator.drop(pair.mine)
    operator.create(pair.mine)

    assert eventually_refused(pair.me)
    assert everywhere.code(THINGS, {"find": {}}) == "UNKNOWN_COLLECTION_OR_TABLE"
    everywhere.answer(HOME, {"createCollection": {"name": "things", "options": {"vector": {"dimension": 2}}}})
    assert everywhere.code(THINGS, {"find": {"options": {"pageState": page}}}) == "COMMAND_FIELD_VALUE_INVALID"
    assert tells_nothing(everywhere.answer(THINGS, {"find": {"sort": {"$vector": [1, 0]}}}))
    assert everywhere.keyspaces() == ["default_keyspace"]
    refused = everywhere.code(HOME, {"createCollection": {"name": "texts", "options": embedding(key)}})
    assert refused == "VECTORIZE_CREDENTIAL_INVALID"
    (line,) = (line for line in server.command("keys", "list").stdout.splitlines() if key in line)
    assert "default" in line
    # "mine-3" is the name of the key as well.
    assert line.count(pair.mine) == 1


def test_a_dropped_database_leaves_no_file(pair: Pair, server: Orrery, operator: Operator) -> None:
    folder = server.data_dir / "store" / "collections"
    assert any(SECRET_TEXT.encode() in file.read_bytes() for file in folder.rglob("documents.db*"))

    operator.drop(pair.mine)

    # The databases of other tests are dropped as well.
    eventually(lambda: all(SECRET_TEXT.encode() not in file.read_bytes() for file in folder.rglob("documents.db*")))


def eventually_refused(one: Client) -> bool:
    """Wait until a client's token is not taken any more."""
    eventually(lambda: one.send("/v1", {"findKeyspaces": {}}).status_code == 401)
    return True
