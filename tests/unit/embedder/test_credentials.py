"""Credentials: names, scopes, encryption at rest, and the master key."""

import base64
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from cryptography.exceptions import InvalidTag

from services.embedder.credentials import CredentialStore
from services.embedder.sealing import MasterKeyError, load_master_key
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


def test_a_master_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    first = load_master_key(tmp_path, None)

    assert load_master_key(tmp_path, None).reveal() == first.reveal()
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600


def test_a_master_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    load_master_key(tmp_path, None)
    (tmp_path / "master.key").chmod(0o644)

    with pytest.raises(MasterKeyError, match="chmod 600"):
        load_master_key(tmp_path, None)


@pytest.mark.parametrize("text", ["not base64!", "c2hvcnQ="])
def test_a_malformed_master_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(MasterKeyError, match="32 bytes") as caught:
        load_master_key(tmp_path, Secret(text))

    assert text not in str(caught.value)


def test_a_secret_shows_nowhere() -> None:
    secret = Secret(TEXT)

    assert TEXT not in f"{secret} {secret!r} {secret!s} {[secret]} {secret:>20}"
    assert secret.scrub(f"a {TEXT} b") == "a *** b"
