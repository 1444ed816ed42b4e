"""Credentials: stored by provider and name, scoped to databases, encrypted at rest.

A secret is AES-256-GCM under the master key with a nonce of its own; provider, name and token name are bound to it, so
that a row copied to another name does not decrypt.
"""

import base64
import binascii
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.embedder.secret import Secret
from services.runtime.errors import ConfigurationError, DataApiError

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,48}[A-Za-z0-9])?")
MAX_DATABASES_AT_ONCE = 10

_KEY_BYTES, _NONCE_BYTES = 32, 12
_SCHEMA = """
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
"""
_PROBE = b"orrery master key"


class MasterKeyError(ConfigurationError):
    """The master key is missing, malformed or another one; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A stored credential without its secret; `created` is in seconds since 1970."""

    provider: str
    name: str
    databases: tuple[str, ...]
    created: int


def load_master_key(data_dir: Path, given: Secret | None) -> Secret:
    """Return the master key as Base64 text: the one given, else the one kept in the data directory, else a new one.

    Raises `MasterKeyError` for a key that is no Base64 of 32 bytes, or a file that others can read.
    """
    if given is not None:
        _key_bytes(given)
        return given
    path = data_dir / "master.key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            raise MasterKeyError(f"{path} can be read by other users: run `chmod 600 {path}`") from None
        kept = Secret(path.read_text().strip())
    else:
        kept = Secret(base64.b64encode(os.urandom(_KEY_BYTES)).decode())
        with os.fdopen(descriptor, "w") as file:
            file.write(kept.reveal() + "\n")
            file.flush()
            os.fsync(file.fileno())
    _key_bytes(kept)
    return kept


def _key_bytes(key: Secret) -> bytes:
    try:
        content = base64.b64decode(key.reveal(), validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != _KEY_BYTES:
        raise MasterKeyError(
            f"the master key must be the Base64 of {_KEY_BYTES} bytes; `openssl rand -base64 {_KEY_BYTES}` makes one"
        )
    return content


class CredentialStore:
    """The credentials of one embedder, in a SQLite file. Safe to use from many threads."""

    def __init__(self, path: Path, master_key: Secret) -> None:
        self._cipher = AESGCM(_key_bytes(master_key))
        self._lock = threading.Lock()
        self._connection = apsw.Connection(str(path))
        self._connection.set_busy_timeout(5000)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        if not self._connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'credentials'").fetchone():
            self._connection.execute(f"BEGIN; {_SCHEMA} CREATE TABLE probe (sealed BLOB NOT NULL); COMMIT")
            self._connection.execute("INSERT INTO probe VALUES (?)", (self._seal(_PROBE, b"probe"),))
        self._check_master_key(path)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def create(self, provider: str, name: str, secrets: Mapping[str, Secret], databases: Sequence[str]) -> Credential:
        """Store a credential.

        Raises `CREDENTIAL_NAME_INVALID`, `CREDENTIAL_INVALID` (no secret, no or too many databases) or
        `CREDENTIAL_ALREADY_EXISTS`.
        """
        if not NAME.fullmatch(name):
            raise DataApiError("CREDENTIAL_NAME_INVALID", name=f"'{name}'")
        if not secrets or not all(secret.reveal() for secret in secrets.values()):
            raise DataApiError("CREDENTIAL_INVALID", provider=provider, name=name, problem="the secret is empty")
        self._check_databases(provider, name, databases)
        with self._lock:
            with self._connection:
                if self._find(provider, name) is not None:
                    raise DataApiError("CREDENTIAL_ALREADY_EXISTS", provider=provider, name=name)
                self._connection.execute("INSERT INTO credentials VALUES (?, ?, ?)", (provider, name, int(time.time())))
                for token, secret in secrets.items():
                    sealed = self._seal(secret.reveal().encode(), _bound_to(provider, name, token))
                    self._connection.execute("INSERT INTO secrets VALUES (?, ?, ?, ?)", (provider, name, token, sealed))
                self._add(provider, name, databases)
            return self._require(provider, name)

    def list(self, provider: str = "") -> list[Credential]:
        """Return the credentials of a provider, or all, by provider and name."""
        sql = "SELECT provider, name FROM credentials WHERE ? IN ('', provider) ORDER BY provider, name"
        with self._lock:
            names = self._connection.execute(sql, (provider,)).fetchall()
            return [self._require(str(owner), str(name)) for owner, name in names]

    def add_databases(self, provider: str, name: str, databases: Sequence[str]) -> Credential:
        """Widen a scope by 1 to 10 databases. Raises `CREDENTIAL_UNKNOWN` or `CREDENTIAL_INVALID`."""
        self._check_databases(provider, name, databases)
        with self._lock:
            with self._connection:
                self._require(provider, name)
                self._add(provider, name, databases)
            return self._require(provider, name)

    def remove_databases(self, provider: str, name: str, databases: Sequence[str]) -> Credential:
        """Narrow a scope. Raises `CREDENTIAL_UNKNOWN`."""
        with self._lock:
            with self._connection:
                self._require(provider, name)
                sql = "DELETE FROM scopes WHERE provider = ? AND name = ? AND database = ?"
                self._connection.executemany(sql, ((provider, name, database) for database in databases))
            return self._require(provider, name)

    def delete(self, provider: str, name: str) -> None:
        """Delete a credential and its secrets. Raises `CREDENTIAL_UNKNOWN`."""
        with self._lock, self._connection:
            self._require(provider, name)
            sql = "DELETE FROM credentials WHERE provider = ? AND name = ?"
            self._connection.execute(sql, (provider, name))

    def check(self, provider: str, name: str, token: str, database: str) -> None:
        """Refuse a credential that a database may not use. Raises `VECTORIZE_CREDENTIAL_INVALID`."""
        with self._lock:
            self._sealed(provider, name, token, database)

    def secret(self, provider: str, name: str, token: str, database: str) -> Secret:
        """Return the secret of a credential for a database that may use it.

        Raises `VECTORIZE_CREDENTIAL_INVALID`, which names the credential, the database and the remedy.
        """
        with self._lock:
            sealed = self._sealed(provider, name, token, database)
        return Secret(self._open(sealed, _bound_to(provider, name, token)).decode())

    # --- details ---

    def _sealed(self, provider: str, name: str, token: str, database: str) -> bytes:
        credential = self._find(provider, name)
        add = f"`orrery keys add {provider} {name} --database {database}`"
        if credential is None:
            raise _not_usable(provider, name, database, "it does not exist", f"Create it with {add}")
        if database not in credential.databases:
            widen = f"`orrery keys scope {provider} {name} --add {database}`"
            raise _not_usable(
                provider, name, database, "its scope does not hold the database", f"Widen the scope with {widen}"
            )
        sql = "SELECT sealed FROM secrets WHERE provider = ? AND name = ? AND token = ?"
        row = self._connection.execute(sql, (provider, name, token)).fetchone()
        if row is None:
            raise _not_usable(provider, name, database, f"it has no {token}", f"Remove it and create it with {add}")
        return bytes(row[0])

    def _find(self, provider: str, name: str) -> Credential | None:
        sql = "SELECT created FROM credentials WHERE provider = ? AND name = ?"
        row = self._connection.execute(sql, (provider, name)).fetchone()
        if row is None:
            return None
        sql = "SELECT database FROM scopes WHERE provider = ? AND name = ? ORDER BY database"
        databases: list[Any] = self._connection.execute(sql, (provider, name)).fetchall()
        return Credential(provider, name, tuple(str(database) for (database,) in databases), int(row[0]))

    def _require(self, provider: str, name: str) -> Credential:
        credential = self._find(provider, name)
        if credential is None:
            raise DataApiError("CREDENTIAL_UNKNOWN", provider=provider, name=name)
        return credential

    def _add(self, provider: str, name: str, databases: Sequence[str]) -> None:
        sql = "INSERT OR IGNORE INTO scopes VALUES (?, ?, ?)"
        self._connection.executemany(sql, ((provider, name, database) for database in databases))

    def _check_databases(self, provider: str, name: str, databases: Sequence[str]) -> None:
        if not 1 <= len(databases) <= MAX_DATABASES_AT_ONCE or not all(databases):
            raise DataApiError(
                "CREDENTIAL_INVALID",
                provider=provider,
                name=name,
                problem=f"1 to {MAX_DATABASES_AT_ONCE} databases can be added at once, found {len(databases)}",
            )

    def _check_master_key(self, path: Path) -> None:
        row = self._connection.execute("SELECT sealed FROM probe").fetchone()
        try:
            self._open(bytes(row[0]) if row else b"", b"probe")
        except (InvalidTag, ValueError):
            raise MasterKeyError(
                f"the master key is not the one that {path} was written with: give that one in ORRERY_MASTER_KEY or "
                "put its file back; without it, move the credentials away and add them again"
            ) from None

    def _seal(self, content: bytes, bound_to: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, bound_to)

    def _open(self, sealed: bytes, bound_to: bytes) -> bytes:
        return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)


def _bound_to(provider: str, name: str, token: str) -> bytes:
    return "\x00".join((provider, name, token)).encode()


def _not_usable(provider: str, name: str, database: str, problem: str, remedy: str) -> DataApiError:
    return DataApiError(
        "VECTORIZE_CREDENTIAL_INVALID",
        provider=provider,
        name=name,
        database=database,
        problem=problem,
        remedy=f"{remedy}.",
    )
