"""Databases and tokens, kept: what may be made, what goes with what, and what the audit log has of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.runtime.errors import DataApiError
from services.runtime.roles import Role
from services.store.access import Access, digest_of
from services.store.engine import Engine
from services.store.records import CollectionSettings


@pytest.fixture
def access(engine: Engine) -> Access:
    return Access(engine)


def audited(engine: Engine) -> list[dict[str, Any]]:
    """Return the lines of the audit log."""
    return [json.loads(line) for line in (engine.data_dir / "audit.log").read_text().splitlines()]


def refusal(call: Any, *arguments: Any, **named: Any) -> str:
    """Return the code of the error that a call raises."""
    with pytest.raises(DataApiError) as refused:
        call(*arguments, **named)
    return refused.value.code


# --- databases ---


def test_a_new_database_has_its_keyspaces(access: Access, engine: Engine) -> None:
    first = access.create_database("shop", [], "me")
    second = access.create_database("other", ["a", "b"], "me")

    assert engine.catalog.keyspaces("shop") == ["default_keyspace"]
    assert engine.catalog.keyspaces("other") == ["a", "b"]
    assert first.id != second.id
    assert [database.name for database in access.databases()] == ["d", "other", "shop"]


@pytest.mark.parametrize(
    "name",
    ["", "a" * 51, "Shop", "a_b", "-a", "a-", "a.b", "a b", "ä", "a\n", "../a", "5b1f6f62-93a4-4be8-8bd5-1d8ab3a1a0f1"],
)
def test_a_name_that_is_no_label_of_a_host_name_is_refused(access: Access, name: str) -> None:
    assert refusal(access.create_database, name, [], "me") == "DATABASE_NAME_INVALID"


@pytest.mark.parametrize("name", ["a", "7", "a" * 50, "a-b", "2026"])
def test_labels_of_host_names_are_names(access: Access, name: str) -> None:
    assert access.create_database(name, [], "me").name == name


def test_a_name_is_taken_once(access: Access) -> None:
    access.create_database("shop", [], "me")

    assert refusal(access.create_database, "shop", [], "me") == "DATABASE_ALREADY_EXISTS"


def test_a_keyspace_can_ask_for_its_database_to_be_there(engine: Engine, access: Access) -> None:
    assert refusal(engine.catalog.create_keyspace, "none", "k", existing_database=True) == "UNKNOWN_DATABASE"

    engine.catalog.create_keyspace("new", "k")

    assert [database.name for database in access.databases()] == ["d", "new"]


def test_dropping_takes_all_that_is_in_it_and_keeps_the_name_until_it_is_finished(
    access: Access, engine: Engine
) -> None:
    database = access.create_database("shop", ["k"], "me")
    entry, _ = engine.catalog.create_collection("shop", "k", "c", CollectionSettings(), b"", None)
    engine.collection("shop", "k", "c", "").totals()
    only, _ = access.create_token("only", Role.READ, ["shop"], "me")
    both, _ = access.create_token("both", Role.READ, ["shop", "d"], "me")
    everything, _ = access.create_token("all", Role.READ, [], "me")

    dropped, revoked = access.drop_database("shop", database.id, "me")

    assert (dropped.id, dropped.dropping) == (database.id, True)
    assert [token.id for token in revoked] == [only.id]
    assert {token.id: token.databases for token in access.tokens()} == {both.id: ("d",), everything.id: ()}
    assert not engine.folder(entry.uid).exists()
    assert engine.catalog.keyspaces("shop") == []
    assert refusal(access.create_database, "shop", [], "me") == "DATABASE_ALREADY_EXISTS"
    assert refusal(engine.catalog.create_keyspace, "shop", "k") == "UNKNOWN_DATABASE"
    assert refusal(access.create_token, "t", Role.READ, ["shop"], "me") == "UNKNOWN_DATABASE"

    access.finish_drop(database.id)

    assert access.create_database("shop", [], "me").id != database.id


def test_dropping_again_changes_nothing_and_another_one_of_the_name_is_told_by_its_id(access: Access) -> None:
    first = access.create_database("shop", [], "me")
    assert access.drop_database("shop", "", "me")[0].dropping
    assert access.drop_database("shop", "", "me") == (access.databases()[1], [])
    access.finish_drop(first.id)
    second = access.create_database("shop", [], "me")

    assert refusal(access.drop_database, "shop", first.id, "me") == "UNKNOWN_DATABASE"
    access.finish_drop(second.id)
    assert second in access.databases()


def test_a_drop_that_was_killed_is_finished_by_the_next_start(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    access = Access(engine)
    access.create_database("shop", ["k"], "me")
    entry, _ = engine.catalog.create_collection("shop", "k", "c", CollectionSettings(), b"", None)
    engine.collection("shop", "k", "c", "").totals()
    engine.discard = lambda uids: None  # type: ignore[method-assign] # the kill comes before this
    access.drop_database("shop", "", "me")
    engine.close()

    again = Engine(tmp_path)

    assert [database.dropping for database in Access(again).databases()] == [True]
    assert not again.folder(entry.uid).exists()
    again.close()


# --- tokens ---


def test_a_token_is_told_once_and_only_its_digest_is_kept(access: Access, engine: Engine) -> None:
    token, secret = access.create_token("reports", Role.READ, ["d"], "me", rate=5.0, lifetime_seconds=60)

    prefix, token_id, random = secret.split(":")
    assert (prefix, token_id, len(random)) == ("orrery", token.id, 43)
    assert access.tokens() == [token]
    assert token.digest == digest_of(secret)
    assert token.expires == token.created + 60
    assert random not in repr(token)
    assert token.digest.hex() not in repr(token)
    for path in engine.data_dir.rglob("*"):
        assert not path.is_file() or random.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("n" * 101, {}),
        ("a\nb", {}),
        ("n", {"rate": 0.0}),
        ("n", {"rate": -1.0}),
        ("n", {"rate": float("nan")}),
        ("n", {"lifetime_seconds": 0}),
    ],
)
def test_what_no_token_can_have_is_refused(access: Access, name: str, wrong: dict[str, Any]) -> None:
    assert refusal(access.create_token, name, Role.READ, [], "me", **wrong) == "TOKEN_INVALID"


def test_a_token_for_an_unknown_database_is_refused(access: Access) -> None:
    assert refusal(access.create_token, "n", Role.READ, ["d", "none"], "me") == "UNKNOWN_DATABASE"
    assert access.tokens() == []


def test_a_revoked_token_is_gone(access: Access) -> None:
    token, _ = access.create_token("n", Role.ADMIN, [], "me")

    access.revoke_token(token.id, "me")

    assert access.tokens() == []
    assert refusal(access.revoke_token, token.id, "me") == "TOKEN_UNKNOWN"


# --- what gateways ask ---


def test_a_version_is_answered_with_nothing_until_something_changes(access: Access, engine: Engine) -> None:
    version, databases, tokens = access.listing("")
    assert ([database.name for database in databases], tokens) == (["d"], [])

    assert access.listing(version) == (version, [], [])
    engine.catalog.create_keyspace("d", "another")
    assert access.listing(version) == (version, [], [])
    engine.catalog.create_keyspace("new", "k")
    changed, databases, _ = access.listing(version)

    assert changed != version
    assert [database.name for database in databases] == ["d", "new"]


def test_versions_of_another_process_are_not_known(engine: Engine) -> None:
    version, _, _ = Access(engine).listing("")

    assert Access(engine).listing(version)[1]


# --- the audit log ---


def test_every_change_is_in_the_audit_log_with_who_made_it(access: Access, engine: Engine) -> None:
    database = access.create_database("shop", [], "alice")
    token, secret = access.create_token("t", Role.WRITE, ["shop"], "bob")
    other, _ = access.create_token("o", Role.READ, [], "bob")
    access.revoke_token(other.id, "carol")
    access.drop_database("shop", "", "dave")

    _, *entries = audited(engine)  # the first is of the engine's own database
    assert [(entry["what"], entry["who"]) for entry in entries] == [
        ("database created", "alice"),
        ("token created", "bob"),
        ("token created", "bob"),
        ("token revoked", "carol"),
        ("database dropped", "dave"),
    ]
    assert (entries[1]["token"], entries[1]["role"], entries[1]["databases"]) == (token.id, "write", ["shop"])
    assert entries[2]["databases"] == "all"
    assert (entries[4]["database_id"], entries[4]["revoked_tokens"]) == (database.id, [token.id])
    assert secret.split(":")[2] not in json.dumps(entries)


def test_a_change_that_cannot_be_logged_is_not_made(access: Access, engine: Engine) -> None:
    changes: list[tuple[Callable[..., Any], tuple[str, ...]]] = [
        (access.create_database, ("shop", "", "me")),
        (engine.catalog.create_keyspace, ("shop", "k")),
        (access.drop_database, ("d", "", "me")),
    ]
    (engine.data_dir / "audit.log").unlink()
    (engine.data_dir / "audit.log").mkdir()

    for change, arguments in changes:
        with pytest.raises(DataApiError, match=r"audit\.log.* Nothing was changed") as refused:
            change(*arguments)
        assert refused.value.code == "FAILED_WRITE_REQUEST"
        assert engine.catalog.databases() == ["d"]


def test_a_database_that_a_keyspace_makes_is_in_the_audit_log(access: Access, engine: Engine) -> None:
    engine.catalog.create_keyspace("new", "k", who="me")
    engine.catalog.create_keyspace("new", "another", who="me")

    _, new = access.databases()
    (entry,) = [entry for entry in audited(engine) if entry["database"] == "new"]
    assert (entry["what"], entry["database_id"], entry["who"]) == ("database created", new.id, "me")
