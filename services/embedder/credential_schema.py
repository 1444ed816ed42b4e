"""The file of the stored credentials: its tables, and how an earlier form of it becomes this one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
from cryptography.exceptions import InvalidTag

from services.embedder.sealing import MasterKeyError, Sealer
from services.runtime.errors import ConfigurationError

#: The form of the file, kept in its `user_version`. 0 with tables is the form before secrets had versions.
SCHEMA_VERSION = 2

#: Times are in seconds since 1970. `last_version` outlives the version, so that no number is given twice. `uses` stands
#: apart: it also holds credentials of the directory.
_TABLES = """
CREATE TABLE credentials (
    provider TEXT NOT NULL, name TEXT NOT NULL, created INTEGER NOT NULL, active INTEGER NOT NULL,
    last_version INTEGER NOT NULL, PRIMARY KEY (provider, name)
) WITHOUT ROWID;
CREATE TABLE versions (
    provider TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, created INTEGER NOT NULL,
    PRIMARY KEY (provider, name, version),
    FOREIGN KEY (provider, name) REFERENCES credentials (provider, name) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE secrets (
    provider TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, token TEXT NOT NULL, sealed BLOB NOT NULL,
    PRIMARY KEY (provider, name, version, token),
    FOREIGN KEY (provider, name, version) REFERENCES versions (provider, name, version) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE scopes (
    provider TEXT NOT NULL, name TEXT NOT NULL, database TEXT NOT NULL,
    PRIMARY KEY (provider, name, database),
    FOREIGN KEY (provider, name) REFERENCES credentials (provider, name) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE uses (
    provider TEXT NOT NULL, name TEXT NOT NULL, last_used INTEGER NOT NULL, PRIMARY KEY (provider, name)
) WITHOUT ROWID;
"""


def open_database(path: Path, sealer: Sealer) -> apsw.Connection:
    """Open the file, made or brought to this form where needed; an upgrade happens as a whole or not at all.

    Raises `MasterKeyError` when it was written with another master key, `ConfigurationError` when a later Orrery wrote
    it.
    """
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(5000)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        with _exclusively(connection):
            _prepare(connection, path, sealer)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _exclusively(connection: apsw.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _prepare(connection: apsw.Connection, path: Path, sealer: Sealer) -> None:
    rows: list[Any] = connection.execute("PRAGMA user_version").fetchall()
    version = int(rows[0][0])
    if version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path} was written by a later Orrery (form {version}, this one knows {SCHEMA_VERSION}): run that one, or "
            "put the backup from before the upgrade back"
        )
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'credentials'").fetchone():
        connection.execute(f"{_TABLES} CREATE TABLE probe (sealed BLOB NOT NULL)")
        connection.execute("INSERT INTO probe VALUES (?)", (sealer.probe(),))
    else:
        # First, because an upgrade opens every secret.
        _check_master_key(connection, path, sealer)
        if version < SCHEMA_VERSION:
            _give_versions(connection, path, sealer)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _check_master_key(connection: apsw.Connection, path: Path, sealer: Sealer) -> None:
    row = connection.execute("SELECT sealed FROM probe").fetchone()
    if not row or not sealer.fits(bytes(row[0])):
        raise MasterKeyError(
            f"the master key is not the one that {path} was written with: give that one in ORRERY_MASTER_KEY or "
            "put its file back; without it, move the credentials away and add them again"
        )


def _give_versions(connection: apsw.Connection, path: Path, sealer: Sealer) -> None:
    """Make every secret the first version of its credential; sealed again, because the version is bound to it."""
    credentials = connection.execute("SELECT provider, name, created FROM credentials").fetchall()
    secrets: list[Any] = connection.execute("SELECT provider, name, token, sealed FROM secrets").fetchall()
    scopes = connection.execute("SELECT provider, name, database FROM scopes").fetchall()
    connection.execute(f"DROP TABLE scopes; DROP TABLE secrets; DROP TABLE credentials; {_TABLES}")
    connection.executemany("INSERT INTO credentials VALUES (?, ?, ?, 1, 1)", credentials)
    connection.executemany("INSERT INTO versions VALUES (?, ?, 1, ?)", credentials)
    connection.executemany("INSERT INTO scopes VALUES (?, ?, ?)", scopes)
    for provider, name, token, sealed in secrets:
        try:
            secret = sealer.open(bytes(sealed), provider, name, token)
        except (InvalidTag, ValueError):
            raise ConfigurationError(
                f"{path} cannot be upgraded: its {provider} key {name} is damaged; put a backup back, or remove that "
                "key with the Orrery that wrote it"
            ) from None
        bound = sealer.seal(secret, provider, name, "1", token)
        connection.execute("INSERT INTO secrets VALUES (?, ?, 1, ?, ?)", (provider, name, token, bound))
