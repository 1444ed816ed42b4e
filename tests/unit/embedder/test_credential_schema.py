"""The file of the stored credentials: an earlier form is brought to this one, whole or not at all."""

import base64
import os
from pathlib import Path

import apsw
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.embedder.credential_schema import SCHEMA_VERSION
from services.embedder.credentials import CredentialStore
from services.embedder.sealing import MasterKeyError
from services.embedder.secret import Secret
from services.runtime.errors import ConfigurationError

KEY_BYTES = b"k" * 32
KEY = Secret(base64.b64encode(KEY_BYTES).decode())

#: The tables of version 0.1, before secrets had versions.
FIRST_FORM = """
CREATE TABLE credentials (
    provider TEXT NOT NULL, name TEXT NOT NULL, created INTEGER NOT NULL, PRIMARY KEY (provider, name)
) WITHOUT ROWID;
CREATE TABLE secrets (
    provider TEXT NOT NULL, name TEXT NOT NULL, token TEXT NOT NULL, sealed BLOB NOT NULL,
    PRIMARY KEY (provider, name, token),
    FOREIGN KEY (provider, name) REFERENCES credentials (provider, name) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE scopes (
    provider TEXT NOT NULL, name TEXT NOT NULL, database TEXT NOT NULL,
    PRIMARY KEY (provider, name, database),
    FOREIGN KEY (provider, name) REFERENCES credentials (provider, name) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE probe (sealed BLOB NOT NULL);
"""


def sealed(text: str, bound_to: str) -> bytes:
    """Seal as version 0.1 did."""
    nonce = os.urandom(12)
    return nonce + AESGCM(KEY_BYTES).encrypt(nonce, text.encode(), bound_to.encode())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file of the first form with a key of one secret and one of two."""
    path = tmp_path / "credentials.db"
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(FIRST_FORM)
    connection.execute("INSERT INTO probe VALUES (?)", (sealed("orrery master key", "probe"),))
    for provider, name, tokens in (("p", "k", ["providerKey"]), ("bedrock", "aws", ["accessId", "secretKey"])):
        connection.execute("INSERT INTO credentials VALUES (?, ?, 1000)", (provider, name))
        connection.execute("INSERT INTO scopes VALUES (?, ?, 'd'), (?, ?, 'e')", (provider, name) * 2)
        for token in tokens:
            blob = sealed(f"{provider} {token}", f"{provider}\x00{name}\x00{token}")
            connection.execute("INSERT INTO secrets VALUES (?, ?, ?, ?)", (provider, name, token, blob))
    connection.close()
    return path


def form_of(path: Path) -> int:
    """Return the form of a file as its `user_version` has it."""
    connection = apsw.Connection(str(path))
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    connection.close()
    return int(str(version))


def test_an_old_file_is_opened_with_all_it_holds(old: Path) -> None:
    store = CredentialStore(old, KEY)

    assert store.secret("p", "k", "providerKey", "d").reveal() == "p providerKey"
    pair = store.secrets("bedrock", {"accessId": "aws", "secretKey": "aws"}, "e")
    assert {token: secret.reveal() for token, secret in pair.items()} == {
        "accessId": "bedrock accessId",
        "secretKey": "bedrock secretKey",
    }
    for credential in store.list():
        assert (credential.databases, credential.created, credential.active) == (("d", "e"), 1000, 1)
        assert [(version.number, version.created) for version in credential.versions] == [(1, 1000)]
    assert store.stage("p", "k", {"providerKey": Secret("next")}, activate=True).active == 2
    store.close()

    again = CredentialStore(old, KEY)
    assert again.secret("p", "k", "providerKey", "d").reveal() == "next"
    again.close()
    assert form_of(old) == SCHEMA_VERSION


def test_another_master_key_leaves_an_old_file_as_it_was(old: Path) -> None:
    with pytest.raises(MasterKeyError):
        CredentialStore(old, Secret(base64.b64encode(b"o" * 32).decode()))

    assert form_of(old) == 0
    CredentialStore(old, KEY).close()


def test_an_upgrade_that_fails_leaves_the_old_file(old: Path) -> None:
    connection = apsw.Connection(str(old))
    connection.execute("UPDATE secrets SET sealed = zeroblob(40) WHERE token = 'secretKey'")
    connection.close()

    with pytest.raises(ConfigurationError, match="bedrock key aws"):
        CredentialStore(old, KEY)

    connection = apsw.Connection(str(old))
    assert connection.execute("SELECT count(*) FROM secrets").fetchall() == [(3,)]
    assert connection.execute("SELECT name FROM sqlite_schema WHERE name = 'versions'").fetchall() == []
    connection.close()


def test_a_file_of_a_later_orrery_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "credentials.db"
    CredentialStore(path, KEY).close()
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()

    with pytest.raises(ConfigurationError, match="later Orrery"):
        CredentialStore(path, KEY)
