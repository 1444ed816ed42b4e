"""Credentials: names, scopes, rotation, times of use, encryption at rest."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from cryptography.exceptions import InvalidTag

from services.embedder.credentials import CredentialStore
from services.embedder.sealing import MasterKeyError
from services.embedder.secret import Secret
from services.runtime.errors import DataApiError

TEXT = "sk-very-secret"
KEY = Secret(base64.b64encode(b"k" * 32).decode())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CredentialStore]:
    """A credential store with one key `k` of `p`, for the database `d`."""
    credentials = CredentialStore(tmp_path / "credentials.db", KEY)
    credentials.create("p", "k", {"providerKey": Secret(TEXT)}, ["d"])
    yield credentials
    credentials.close()


def test_a_secret_comes_back_for_a_database_of_its_scope(store: CredentialStore) -> None:
    assert store.secret("p", "k", "providerKey", "d").reveal() == TEXT


@pytest.mark.parametrize(
    ("name", "token", "database", "says"),
    [
        ("k", "providerKey", "e", "orrery keys scope p k --add e"),
        ("x", "providerKey", "d", "orrery keys add p x --database d"),
        ("k", "accessId", "d", "it has no accessId"),
    ],
)
def test_what_may_not_be_used_is_refused_with_the_remedy(
    store: CredentialStore, name: str, token: str, database: str, says: str
) -> None:
    with pytest.raises(DataApiError, match=says) as caught:
        store.secret("p", name, token, database)

    assert caught.value.code == "VECTORIZE_CREDENTIAL_INVALID"


def test_deletion_works_on_the_next_use_and_creation_enables_again(store: CredentialStore) -> None:
    store.delete("p", "k")
    with pytest.raises(DataApiError, match="does not exist"):
        store.check("p", "k", "providerKey", "d")

    store.create("p", "k", {"providerKey": Secret("new")}, ["d"])
    assert store.secret("p", "k", "providerKey", "d").reveal() == "new"


def test_scopes_grow_and_shrink(store: CredentialStore) -> None:
    assert store.add_databases("p", "k", ["e", "d", "c"]).databases == ("c", "d", "e")
    assert store.remove_databases("p", "k", ["d", "never"]).databases == ("c", "e")


@pytest.mark.parametrize("databases", [[], [f"d{number}" for number in range(11)], [""]])
def test_one_to_ten_databases_at_once(store: CredentialStore, databases: list[str]) -> None:
    with pytest.raises(DataApiError, match="1 to 10 databases"):
        store.create("p", "n", {"providerKey": Secret("s")}, databases)
    with pytest.raises(DataApiError, match="1 to 10 databases"):
        store.add_databases("p", "k", databases)

    assert [credential.name for credential in store.list()] == ["k"]


@pytest.mark.parametrize("name", ["", "-a", "a-", "_", "a b", "é", "a" * 51, "a\n"])
def test_bad_names_are_refused(store: CredentialStore, name: str) -> None:
    with pytest.raises(DataApiError) as caught:
        store.create("p", name, {"providerKey": Secret("s")}, ["d"])

    assert caught.value.code == "CREDENTIAL_NAME_INVALID"


def test_many_keys_a_provider_and_a_database_in_many_scopes(store: CredentialStore) -> None:
    store.create("p", "l", {"providerKey": Secret("s")}, ["d"])
    store.create("q", "k", {"providerKey": Secret("t")}, ["d"])

    assert [(item.provider, item.name) for item in store.list()] == [("p", "k"), ("p", "l"), ("q", "k")]
    assert [item.name for item in store.list("p")] == ["k", "l"]


def test_the_file_holds_no_secret(store: CredentialStore, tmp_path: Path) -> None:
    assert not any(TEXT.encode() in path.read_bytes() for path in tmp_path.iterdir())


def test_a_secret_copied_to_another_name_does_not_open(store: CredentialStore, tmp_path: Path) -> None:
    store.create("p", "l", {"providerKey": Secret("other")}, ["d"])
    connection = apsw.Connection(str(tmp_path / "credentials.db"))
    connection.execute("UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'k') WHERE name = 'l'")
    connection.close()

    with pytest.raises(InvalidTag):
        store.secret("p", "l", "providerKey", "d")


def test_another_master_key_is_refused_naming_the_remedy(store: CredentialStore, tmp_path: Path) -> None:
    other = Secret(base64.b64encode(b"o" * 32).decode())

    with pytest.raises(MasterKeyError, match="ORRERY_MASTER_KEY"):
        CredentialStore(tmp_path / "credentials.db", other)


def test_a_secret_shows_nowhere() -> None:
    secret = Secret(TEXT)

    assert TEXT not in f"{secret} {secret!r} {secret!s} {[secret]} {secret:>20}"
    assert secret.scrub(f"a {TEXT} b") == "a *** b"


# --- rotation ---------------------------------------------------------------


def in_use(store: CredentialStore, token: str = "providerKey") -> str:
    """Return the secret that a call gets now."""
    return store.secret("p", "k", token, "d").reveal()


def test_a_second_secret_waits_is_switched_to_and_back_and_dropped(store: CredentialStore) -> None:
    staged = store.stage("p", "k", {"providerKey": Secret("next")})
    assert ([item.number for item in staged.versions], staged.active, in_use(store)) == ([1, 2], 1, TEXT)

    assert (store.activate("p", "k", 2).active, in_use(store)) == (2, "next")
    assert (store.activate("p", "k", 1).active, in_use(store)) == (1, TEXT)
    store.activate("p", "k", 2)
    dropped = store.drop("p", "k", 1)

    assert ([item.number for item in dropped.versions], in_use(store)) == ([2], "next")


def test_one_step_puts_a_secret_beside_and_switches(store: CredentialStore) -> None:
    rotated = store.stage("p", "k", {"providerKey": Secret("next")}, activate=True)

    assert ([item.number for item in rotated.versions], rotated.active, in_use(store)) == ([1, 2], 2, "next")
    assert rotated.databases == ("d",)


def test_a_third_secret_is_refused_unless_it_replaces_the_one_beside(store: CredentialStore) -> None:
    store.stage("p", "k", {"providerKey": Secret("next")}, activate=True)
    with pytest.raises(DataApiError, match="orrery keys rotate p k --drop") as caught:
        store.stage("p", "k", {"providerKey": Secret("third")}, activate=True)
    assert (caught.value.code, in_use(store)) == ("CREDENTIAL_ROTATION_INVALID", "next")

    replaced = store.stage("p", "k", {"providerKey": Secret("third")}, activate=True, replace=True)
    assert ([item.number for item in replaced.versions], in_use(store)) == ([2, 3], "third")


def test_a_number_is_never_given_twice(store: CredentialStore) -> None:
    store.stage("p", "k", {"providerKey": Secret("next")})
    store.drop("p", "k", 2)

    assert [item.number for item in store.stage("p", "k", {"providerKey": Secret("x")}).versions] == [1, 3]
    with pytest.raises(DataApiError, match="no version 2, only 1 and 3"):
        store.activate("p", "k", 2)


def test_the_secret_in_use_is_not_dropped(store: CredentialStore) -> None:
    store.stage("p", "k", {"providerKey": Secret("next")})

    with pytest.raises(DataApiError, match="in use") as caught:
        store.drop("p", "k", 1)
    assert (caught.value.code, in_use(store)) == ("CREDENTIAL_ROTATION_INVALID", TEXT)


def test_what_is_not_there_is_not_rotated(store: CredentialStore) -> None:
    for change in (
        lambda: store.stage("p", "x", {"providerKey": Secret("s")}),
        lambda: store.activate("p", "x", 1),
        lambda: store.drop("p", "x", 1),
    ):
        with pytest.raises(DataApiError) as caught:
            change()
        assert caught.value.code == "CREDENTIAL_UNKNOWN"
    with pytest.raises(DataApiError, match="empty"):
        store.stage("p", "k", {"providerKey": Secret("")})


def test_rotation_survives_a_restart(store: CredentialStore, tmp_path: Path) -> None:
    store.stage("p", "k", {"providerKey": Secret("next")}, activate=True)
    store.close()

    again = CredentialStore(tmp_path / "credentials.db", KEY)
    assert (in_use(again), again.activate("p", "k", 1).active, in_use(again)) == ("next", 1, TEXT)
    again.close()


def test_a_key_of_two_secrets_is_never_half_of_each_version(store: CredentialStore) -> None:
    store.create("b", "k", {"accessId": Secret("id-0"), "secretKey": Secret("key-0")}, ["d"])
    pairs: list[tuple[str, str]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found = store.secrets("b", {"accessId": "k", "secretKey": "k"}, "d")
            pairs.append((found["accessId"].reveal()[3:], found["secretKey"].reveal()[4:]))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, 30):
        new = {"accessId": Secret(f"id-{number}"), "secretKey": Secret(f"key-{number}")}
        store.stage("b", "k", new, activate=True, replace=True)
    done.set()
    for reader in readers:
        reader.join()

    assert len({pair[0] for pair in pairs}) > 1
    assert [pair for pair in pairs if pair[0] != pair[1]] == []


# --- times of use -----------------------------------------------------------


def last_used(store: CredentialStore) -> int | None:
    """Return when `k` was last used."""
    (credential,) = store.list("p")
    return credential.last_used


def test_use_is_told_at_once_and_written_later(
    store: CredentialStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert last_used(store) is None
    store.check("p", "k", "providerKey", "d")
    assert last_used(store) is None

    def rows() -> list[Any]:
        connection = apsw.Connection(str(tmp_path / "credentials.db"), flags=apsw.SQLITE_OPEN_READONLY)
        found = connection.execute("SELECT * FROM uses").fetchall()
        connection.close()
        return found

    for now in (1000.5, 2000.5):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        in_use(store)
        assert (last_used(store), rows()) == (int(now), [])
    store.write_uses()
    assert (last_used(store), rows()) == (2000, [("p", "k", 2000)])


def test_use_is_written_at_the_end_and_forgotten_with_the_key(store: CredentialStore, tmp_path: Path) -> None:
    in_use(store)
    used = last_used(store)
    store.close()

    again = CredentialStore(tmp_path / "credentials.db", KEY)
    assert last_used(again) == used is not None
    again.delete("p", "k")
    again.create("p", "k", {"providerKey": Secret("new")}, ["d"])
    assert last_used(again) is None
    again.close()


def test_a_refused_use_is_none(store: CredentialStore) -> None:
    with pytest.raises(DataApiError):
        store.secret("p", "k", "providerKey", "e")

    assert last_used(store) is None


# --- audit ------------------------------------------------------------------


def audited(tmp_path: Path) -> list[dict[str, Any]]:
    """Return the lines of the audit log."""
    return [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]


def test_every_change_is_in_the_audit_log_and_nothing_else(store: CredentialStore, tmp_path: Path) -> None:
    store.add_databases("p", "k", ["e"])
    store.add_databases("p", "k", ["e"])
    store.remove_databases("p", "k", ["d"])
    store.stage("p", "k", {"providerKey": Secret("next-secret")})
    store.activate("p", "k", 2)
    store.activate("p", "k", 2)
    store.drop("p", "k", 1)
    store.stage("p", "k", {"providerKey": Secret("next-secret")}, activate=True)
    store.secret("p", "k", "providerKey", "e")
    store.delete("p", "k")
    with pytest.raises(DataApiError):
        store.delete("p", "k")

    lines = audited(tmp_path)
    assert [(line["what"], line["active_version"]) for line in lines] == [
        ("created", 1),
        ("scope widened", 1),
        ("scope narrowed", 1),
        ("secret staged", 1),
        ("secret activated", 2),
        ("secret dropped", 2),
        ("secret rotated", 3),
        ("deleted", None),
    ]
    assert (lines[1]["databases_before"], lines[1]["databases_after"]) == (["d"], ["d", "e"])
    assert (lines[-1]["databases_before"], lines[-1]["databases_after"]) == (["e"], [])
    assert {(line["provider"], line["name"], line["who"]) for line in lines} == {("p", "k", "rpc")}
    text = (tmp_path / "audit.log").read_text()
    assert TEXT not in text
    assert "next-secret" not in text


def test_a_change_that_cannot_be_audited_is_not_made(store: CredentialStore, tmp_path: Path) -> None:
    (tmp_path / "audit.log").unlink()
    (tmp_path / "audit.log").mkdir()

    with pytest.raises(OSError):
        store.delete("p", "k")
    with pytest.raises(OSError):
        store.stage("p", "k", {"providerKey": Secret("next")}, activate=True)

    assert (in_use(store), len(store.list()[0].versions)) == (TEXT, 1)
