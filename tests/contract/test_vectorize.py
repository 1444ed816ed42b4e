"""Text in, text found: what is embedded when, with which key, and what the user hears when a provider fails."""

from typing import Any

import pytest

from tests.conftest import PROVIDER_SECRET
from tests.contract.api import Api, error_code
from tests.live import Orrery
from tests.upstream.server import Upstream

CAKE = "A recipe for a rich chocolate cake with dark cocoa"
MARS = "The probe entered orbit around Mars after a long journey"


def stored(api: Api, identifier: object) -> dict[str, Any]:
    """Return a whole document."""
    return dict(api.run("findOne", filter={"_id": identifier}, projection={"*": 1})["data"]["document"])


def test_a_text_is_embedded_stored_and_found(texts: Api, upstream: Upstream) -> None:
    texts.run("insertMany", documents=[{"_id": 1, "$vectorize": CAKE}, {"_id": 2, "$vectorize": MARS}])

    answer = texts.run(
        "find",
        sort={"$vectorize": "a spacecraft arriving at another planet"},
        options={"includeSimilarity": True, "includeSortVector": True},
    )

    assert [document["_id"] for document in answer["data"]["documents"]] == [2, 1]
    assert len(answer["status"]["sortVector"]) == 384
    assert stored(texts, 2)["$vectorize"] == MARS
    assert len(stored(texts, 2)["$vector"]) == 384


def test_all_texts_of_a_command_go_in_one_request(texts: Api, upstream: Upstream) -> None:
    texts.run("insertMany", documents=[{"$vectorize": f"text {number}"} for number in range(30)])

    (request,) = upstream.requests
    assert len(request["body"]["inputs"]) == 30
    assert request["headers"]["authorization"] == f"Bearer {PROVIDER_SECRET}"


def test_more_texts_than_a_provider_takes_are_cut_into_batches_and_kept_in_order(
    texts: Api, upstream: Upstream
) -> None:
    documents = [{"_id": number, "$vectorize": f"the number {number}"} for number in range(70)]
    texts.run("insertMany", documents=documents)

    assert sorted(len(request["body"]["inputs"]) for request in upstream.requests) == [6, 32, 32]
    for number in (0, 33, 69):
        answer = texts.run("findOne", sort={"$vectorize": f"the number {number}"})
        assert answer["data"]["document"]["_id"] == number


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_blank_text_asks_no_provider_and_stores_no_vector(texts: Api, upstream: Upstream, blank: object) -> None:
    texts.run("insertOne", document={"_id": 1, "$vectorize": blank})

    assert stored(texts, 1) == {"_id": 1, "$vector": None, "$vectorize": blank}
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"$vectorize": 5}, "INVALID_VECTORIZE_VALUE_TYPE"),
        ({"$vectorize": {"a": 1}}, "INVALID_VECTORIZE_VALUE_TYPE"),
        ({"$vectorize": CAKE, "$vector": [1]}, "INVALID_USAGE_OF_VECTORIZE"),
        ({"$vectorize": CAKE, "$vector": None}, "INVALID_USAGE_OF_VECTORIZE"),
    ],
)
def test_a_text_that_cannot_be_embedded_fails_the_whole_command(
    texts: Api, upstream: Upstream, document: dict[str, Any], code: str
) -> None:
    answer = texts.run("insertMany", documents=[{"$vectorize": MARS}, document])

    assert answer.keys() == {"errors"}
    assert error_code(answer) == code
    assert "2" in answer["errors"][0]["message"]
    assert upstream.requests == []
    assert texts.run("countDocuments")["status"]["count"] == 0


def test_a_document_that_breaks_a_rule_is_not_paid_for(texts: Api, upstream: Upstream) -> None:
    texts.run("insertMany", documents=[{"$vectorize": MARS}, {"$vectorize": CAKE, "$bad": 1}])

    (request,) = upstream.requests
    assert request["body"]["inputs"] == [MARS]


@pytest.mark.parametrize(
    ("sort", "code"),
    [
        ({"$vectorize": ""}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"$vectorize": " "}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"$vectorize": 5}, "SORT_CLAUSE_VALUE_INVALID"),
        ({"$vectorize": CAKE, "$vector": [1]}, "SORT_CLAUSE_INVALID"),
        ({"$vectorize": CAKE, "n": 1}, "SORT_CLAUSE_INVALID"),
    ],
)
def test_a_bad_sort_by_text_is_refused(texts: Api, upstream: Upstream, sort: dict[str, Any], code: str) -> None:
    assert error_code(texts.run("find", sort=sort)) == code
    assert upstream.requests == []


# --- updates ----------------------------------------------------------------


def test_a_changed_text_is_embedded_again_and_an_unchanged_one_is_not(texts: Api, upstream: Upstream) -> None:
    texts.run("insertOne", document={"_id": 1, "$vectorize": CAKE})
    before = stored(texts, 1)["$vector"]
    upstream.reset()

    unchanged = texts.run("updateOne", filter={"_id": 1}, update={"$set": {"$vectorize": CAKE}})
    assert unchanged["status"] == {"matchedCount": 1, "modifiedCount": 0}
    assert upstream.requests == []

    changed = texts.run("updateOne", filter={"_id": 1}, update={"$set": {"$vectorize": MARS}})
    assert changed["status"] == {"matchedCount": 1, "modifiedCount": 1}
    assert [request["body"]["inputs"] for request in upstream.requests] == [[MARS]]
    assert stored(texts, 1)["$vectorize"] == MARS
    assert stored(texts, 1)["$vector"] != before


def test_an_update_that_matches_nothing_is_not_paid_for(texts: Api, upstream: Upstream) -> None:
    texts.run("updateOne", filter={"_id": 1}, update={"$set": {"$vectorize": CAKE}})

    assert upstream.requests == []


@pytest.mark.parametrize("field", ["$vector", "$vectorize"])
def test_unset_of_either_removes_both(texts: Api, field: str) -> None:
    texts.run("insertOne", document={"_id": 1, "$vectorize": CAKE})

    texts.run("updateOne", filter={"_id": 1}, update={"$unset": {field: ""}})

    assert stored(texts, 1) == {"_id": 1}


def test_a_set_vector_removes_the_text(texts: Api) -> None:
    texts.run("insertOne", document={"_id": 1, "$vectorize": CAKE})
    vector = [1] + [0] * 383

    texts.run("updateOne", filter={"_id": 1}, update={"$set": {"$vector": vector}})

    assert stored(texts, 1) == {"_id": 1, "$vector": vector}


def test_a_blank_text_set_leaves_a_null_vector(texts: Api, upstream: Upstream) -> None:
    texts.run("insertOne", document={"_id": 1, "$vectorize": CAKE})
    upstream.reset()

    texts.run("updateOne", filter={"_id": 1}, update={"$set": {"$vectorize": ""}})

    assert stored(texts, 1) == {"_id": 1, "$vector": None, "$vectorize": ""}
    assert upstream.requests == []


@pytest.mark.parametrize("operator", ["$set", "$unset"])
def test_both_in_one_update_are_refused(texts: Api, operator: str) -> None:
    update = {operator: {"$vector": [1], "$vectorize": "x"}}

    assert error_code(texts.run("updateOne", filter={}, update=update)) == "INVALID_USAGE_OF_VECTORIZE"


def test_an_upsert_embeds_the_text_of_the_new_document(texts: Api, upstream: Upstream) -> None:
    answer = texts.run("updateOne", filter={"_id": 7}, update={"$set": {"$vectorize": MARS}}, options={"upsert": True})

    assert answer["status"] == {"matchedCount": 0, "modifiedCount": 0, "upsertedId": 7}
    assert len(stored(texts, 7)["$vector"]) == 384
    assert len(upstream.requests) == 1


def test_a_replacement_embeds_its_text(texts: Api, upstream: Upstream) -> None:
    texts.run("insertOne", document={"_id": 1, "a": 1, "$vectorize": CAKE})
    upstream.reset()

    texts.run("findOneAndReplace", filter={"_id": 1}, replacement={"b": 2, "$vectorize": MARS})

    replaced = stored(texts, 1)
    assert (replaced["b"], replaced["$vectorize"]) == (2, MARS)
    assert "a" not in replaced
    assert len(upstream.requests) == 1


# --- a provider that fails --------------------------------------------------

FAILURES = [
    ("unauthorized", {}, "EMBEDDING_PROVIDER_CLIENT_ERROR", ["huggingface", "401", "Invalid username"]),
    ("bad_request", {"message": "input 3 is odd"}, "EMBEDDING_PROVIDER_CLIENT_ERROR", ["400", "input 3 is odd"]),
    ("rate_limited", {"retry_after": 3600}, "EMBEDDING_PROVIDER_RATE_LIMITED", ["429", "Rate limit reached"]),
    ("failing", {}, "EMBEDDING_PROVIDER_SERVER_ERROR", ["500", "internal trouble"]),
    ("gateway_timeout", {}, "EMBEDDING_PROVIDER_TIMEOUT", ["504"]),
    ("cut_off", {}, "EMBEDDING_PROVIDER_SERVER_ERROR", ["huggingface", "connection"]),
    ("wrong_count", {}, "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE", ["1", "2"]),
    ("wrong_dimension", {}, "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE", ["384", "7"]),
    ("not_finite", {}, "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE", ["huggingface"]),
    ("not_numbers", {}, "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE", ["huggingface"]),
    ("error_with_200", {}, "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE", ["quota exceeded"]),
    ("empty", {}, "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE", ["huggingface"]),
    ("not_json", {}, "EMBEDDING_RESPONSE_DECODING_ERROR", ["huggingface"]),
]


@pytest.mark.parametrize(("behaviour", "details", "code", "names"), FAILURES)
def test_a_failing_provider_is_reported_and_nothing_is_written(
    texts: Api, upstream: Upstream, behaviour: str, details: dict[str, Any], code: str, names: list[str]
) -> None:
    upstream.behave(behaviour, times=10, **details)

    answer = texts.run("insertOne", document={"_id": 1, "$vectorize": CAKE})

    assert answer.keys() == {"errors"}
    assert error_code(answer) == code
    assert (answer["errors"][0]["family"], answer["errors"][0]["scope"]) == ("SERVER", "EMBEDDING_PROVIDER")
    for name in names:
        assert name in answer["errors"][0]["message"]
    assert texts.run("countDocuments")["status"]["count"] == 0


@pytest.mark.parametrize("behaviour", ["failing", "gateway_timeout", "cut_off", "loading", "rate_limited"])
def test_a_provider_that_recovers_is_hardly_noticed(texts: Api, upstream: Upstream, behaviour: str) -> None:
    upstream.behave(behaviour, times=2, **({"retry_after": 0} if behaviour == "rate_limited" else {}))

    answer = texts.run("insertOne", document={"_id": 1, "$vectorize": CAKE})

    assert answer == {"status": {"insertedIds": [1]}}
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("behaviour", ["unauthorized", "bad_request", "wrong_count", "not_json"])
def test_what_cannot_succeed_is_not_tried_again(texts: Api, upstream: Upstream, behaviour: str) -> None:
    upstream.behave(behaviour, times=10)

    texts.run("insertOne", document={"_id": 1, "$vectorize": CAKE})

    assert len(upstream.requests) == 1


# --- keys -------------------------------------------------------------------


def test_a_header_key_wins_over_the_stored_one(texts: Api, upstream: Upstream) -> None:
    answer = texts.run("insertOne", document={"$vectorize": CAKE}, headers={"x-embedding-api-key": "another-key"})

    assert error_code(answer) == "EMBEDDING_PROVIDER_CLIENT_ERROR"
    assert upstream.requests[0]["headers"]["authorization"] == "Bearer another-key"
    assert "another-key" not in str(answer)


def test_a_collection_without_a_stored_key_takes_the_header(api: Api, upstream: Upstream) -> None:
    api.collection = "by_header"
    service = {"provider": "jinaAI", "modelName": "jina-embeddings-v3"}
    api.at_keyspace("createCollection", name="by_header", options={"vector": {"dimension": 256, "service": service}})

    without = api.run("insertOne", document={"$vectorize": CAKE})
    assert error_code(without) == "EMBEDDING_PROVIDER_AUTHENTICATION_KEYS_NOT_PROVIDED"
    assert "jinaAI" in without["errors"][0]["message"]
    assert "x-embedding-api-key" in without["errors"][0]["message"]

    headers = {"X-Embedding-Api-Key": PROVIDER_SECRET}
    assert "errors" not in api.run("insertOne", document={"$vectorize": CAKE}, headers=headers)
    assert upstream.requests[0]["body"] == {"input": [CAKE], "model": "jina-embeddings-v3", "dimensions": 256}
    api.at_keyspace("deleteCollection", name="by_header")


def test_parameters_reach_the_provider(api: Api, upstream: Upstream) -> None:
    api.collection = "with_parameters"
    service = {
        "provider": "jinaAI",
        "modelName": "jina-embeddings-v3",
        "authentication": {"providerKey": "test-key"},
        "parameters": {"task": "retrieval.passage", "late_chunking": True},
    }
    api.at_keyspace("createCollection", name="with_parameters", options={"vector": {"service": service}})

    api.run("insertOne", document={"$vectorize": CAKE})

    body = upstream.requests[0]["body"]
    assert (body["task"], body["late_chunking"], body["dimensions"]) == ("retrieval.passage", True, 1024)
    api.at_keyspace("deleteCollection", name="with_parameters")


def test_a_key_is_disabled_by_removal_and_enabled_by_adding_it_again(api: Api, orrery: Orrery) -> None:
    orrery.add_key("huggingface", "rotating", PROVIDER_SECRET, "default")
    api.collection = "rotation"
    service = {
        "provider": "huggingface",
        "modelName": "sentence-transformers/all-MiniLM-L6-v2",
        "authentication": {"providerKey": "rotating.providerKey"},
    }
    api.at_keyspace("createCollection", name="rotation", options={"vector": {"service": service}})
    api.run("insertOne", document={"_id": 1, "$vectorize": CAKE})

    assert orrery.command("keys", "remove", "huggingface", "rotating").returncode == 0
    refused = api.run("insertOne", document={"_id": 2, "$vectorize": MARS})
    assert error_code(refused) == "VECTORIZE_CREDENTIAL_INVALID"
    for name in ("rotating", "default", "orrery keys add huggingface rotating"):
        assert name in refused["errors"][0]["message"]
    assert api.run("countDocuments")["status"]["count"] == 1
    assert api.run("findOne", filter={"_id": 1})["data"]["document"] == {"_id": 1}

    orrery.add_key("huggingface", "rotating", PROVIDER_SECRET, "default")
    assert "errors" not in api.run("insertOne", document={"_id": 2, "$vectorize": MARS})
    api.at_keyspace("deleteCollection", name="rotation")
    orrery.command("keys", "remove", "huggingface", "rotating")


def test_a_key_is_for_the_databases_of_its_scope_alone(api: Api, orrery: Orrery) -> None:
    orrery.add_key("huggingface", "elsewhere", PROVIDER_SECRET, "other-database")
    service = {
        "provider": "huggingface",
        "modelName": "sentence-transformers/all-MiniLM-L6-v2",
        "authentication": {"providerKey": "elsewhere"},
    }
    options = {"vector": {"service": service}}

    refused = api.at_keyspace("createCollection", name="scoped", options=options)
    assert error_code(refused) == "VECTORIZE_CREDENTIAL_INVALID"
    for name in ("elsewhere", "default", "orrery keys scope huggingface elsewhere --add default"):
        assert name in refused["errors"][0]["message"]

    assert orrery.command("keys", "scope", "huggingface", "elsewhere", "--add", "default").returncode == 0
    assert api.at_keyspace("createCollection", name="scoped", options=options) == {"status": {"ok": 1}}
    api.at_keyspace("deleteCollection", name="scoped")
    orrery.command("keys", "remove", "huggingface", "elsewhere")


def test_a_secret_shows_in_no_error(texts: Api, upstream: Upstream) -> None:
    upstream.behave("echo_key")

    answer = texts.run("insertOne", document={"$vectorize": CAKE})

    assert error_code(answer) == "EMBEDDING_PROVIDER_CLIENT_ERROR"
    assert PROVIDER_SECRET not in str(answer)
    assert "***" in answer["errors"][0]["message"]
