"""Which databases, keyspaces and collections there are, with the collections' settings."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import apsw
import msgspec

from services.runtime.errors import ConfigurationError, DataApiError
from services.store.faults import DISK_ERRORS, describe, read_failure
from services.store.records import CollectionSettings
from services.store.writer import Writer

_SCHEMA = """
CREATE TABLE keyspaces (database TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (database, name)) WITHOUT ROWID;
CREATE TABLE collections (
    uid TEXT PRIMARY KEY,
    database TEXT NOT NULL,
    keyspace TEXT NOT NULL,
    name TEXT NOT NULL,
    settings BLOB NOT NULL,
    attributes BLOB NOT NULL,
    UNIQUE (database, keyspace, name),
    FOREIGN KEY (database, keyspace) REFERENCES keyspaces (database, name)
);
"""
#: Version of the files of a data directory. Raise it with a migration.
FORMAT_VERSION = 1
_SELECT = "SELECT name, uid, settings, attributes FROM collections WHERE database = ? AND keyspace = ?"


@dataclass(frozen=True, slots=True)
class CollectionEntry:
    """A collection of the catalogue. `attributes` are its creator's bytes, never read here."""

    name: str
    uid: str
    settings: CollectionSettings
    attributes: bytes


class FormatError(ConfigurationError):
    """The data directory was written by a newer version; the message says so."""


class Catalog:
    """The catalogue, in a SQLite file of its own. Safe to use from many threads.

    Its methods raise `FAILED_READ_REQUEST` and `FAILED_WRITE_REQUEST` where the disk fails. The constructor raises
    `FormatError`, and `ConfigurationError` where the file cannot be opened.
    """

    def __init__(self, path: FilePath, *, read_only: bool = False) -> None:
        try:
            self._file = Writer(path, create=True, read_only=read_only)
            self._file.connection.execute("PRAGMA foreign_keys = ON")
            version = next(int(value) for (value,) in self._file.connection.execute("PRAGMA user_version"))
        except (apsw.Error, OSError) as problem:
            raise ConfigurationError(
                f"{path} cannot be opened: {describe(problem, path)}. Without it no collection can be found"
            ) from problem
        self._lock = threading.Lock()
        if version > FORMAT_VERSION:
            raise FormatError(
                f"{path} has format version {version}, written by a newer Orrery; this one knows up to "
                f"{FORMAT_VERSION}. Use the newer one, or another data directory."
            )
        if version == 0:
            with self._writing() as connection:
                connection.execute(f"{_SCHEMA} PRAGMA user_version = {FORMAT_VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        """Give the connection to one thread, to read."""
        with self._lock:
            self._file.revive()
            try:
                yield self._file.connection
            except (*DISK_ERRORS, apsw.ConnectionClosedError) as problem:
                raise read_failure(problem, self._file.path) from problem

    @contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        """Give the connection to one thread, in a transaction."""
        with self._lock:
            self._file.check()
            connection = self._file.connection
            committing = False
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                committing = True
                connection.execute("COMMIT")
            except BaseException as problem:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if isinstance(problem, apsw.Error):
                    raise self._file.failed(problem, committing=committing) from problem
                raise
            self._file.committed()

    def create_keyspace(self, database: str, name: str) -> None:
        """Create a keyspace, unless it is there."""
        with self._writing() as connection:
            connection.execute("INSERT OR IGNORE INTO keyspaces VALUES (?, ?)", (database, name))

    def keyspaces(self, database: str) -> list[str]:
        """Return the names of a database's keyspaces, sorted."""
        sql = "SELECT name FROM keyspaces WHERE database = ? ORDER BY name"
        with self._reading() as connection:
            return [str(name) for (name,) in connection.execute(sql, (database,))]

    def drop_keyspace(self, database: str, name: str) -> list[str]:
        """Drop a keyspace with its collections and return their uids; a missing one is no error."""
        with self._writing() as connection:
            dropped = [str(uid) for _, uid, *_ in connection.execute(_SELECT, (database, name))]
            sql = "DELETE FROM collections WHERE database = ? AND keyspace = ?"
            connection.execute(sql, (database, name))
            connection.execute("DELETE FROM keyspaces WHERE database = ? AND name = ?", (database, name))
        return dropped

    def collections(self, database: str, keyspace: str) -> list[CollectionEntry]:
        """Return the collections of a keyspace by name. Raises `UNKNOWN_KEYSPACE`."""
        with self._reading() as connection:
            self._check_keyspace(database, keyspace)
            found = connection.execute(f"{_SELECT} ORDER BY name", (database, keyspace))
            return [_entry(*values) for values in found]

    def collection(self, database: str, keyspace: str, name: str, uid: str = "") -> CollectionEntry:
        """Return a collection.

        Raises `UNKNOWN_KEYSPACE`, `UNKNOWN_COLLECTION_OR_TABLE`, or `COLLECTION_CHANGED` when it is not the one
        of the uid, where one is given.
        """
        with self._reading() as connection:
            entry = self._find(database, keyspace, name)
            if entry is None:
                self._check_keyspace(database, keyspace)
                sql = f"{_SELECT} ORDER BY name"
                known = [str(other) for other, *_ in connection.execute(sql, (database, keyspace))]
                raise DataApiError(
                    "UNKNOWN_COLLECTION_OR_TABLE", collection=name, keyspace=keyspace, known=", ".join(known)
                )
        if uid and entry.uid != uid:
            raise DataApiError("COLLECTION_CHANGED", collection=name)
        return entry

    def create_collection(
        self,
        database: str,
        keyspace: str,
        name: str,
        settings: CollectionSettings,
        attributes: bytes,
        max_collections: int | None,
    ) -> tuple[CollectionEntry, bool]:
        """Return a collection and whether it is new; an existing one is untouched.

        Raises `UNKNOWN_KEYSPACE`, and `TOO_MANY_COLLECTIONS` where the database has `max_collections`.
        """
        with self._writing() as connection:
            self._check_keyspace(database, keyspace)
            existing = self._find(database, keyspace, name)
            if existing is not None:
                return existing, False
            sql = "SELECT count(*) FROM collections WHERE database = ?"
            count = next(int(value) for (value,) in connection.execute(sql, (database,)))
            if max_collections is not None and count >= max_collections:
                raise DataApiError(
                    "TOO_MANY_COLLECTIONS",
                    collection=name,
                    collectionCount=count,
                    collectionMaxCount=max_collections,
                )
            entry = CollectionEntry(name, uuid.uuid4().hex, settings, attributes)
            connection.execute(
                "INSERT INTO collections (uid, database, keyspace, name, settings, attributes) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (entry.uid, database, keyspace, name, msgspec.json.encode(settings), attributes),
            )
            return entry, True

    def drop_collection(self, database: str, keyspace: str, name: str) -> str | None:
        """Drop a collection and return its uid; None where there is none. Raises `UNKNOWN_KEYSPACE`."""
        with self._writing() as connection:
            self._check_keyspace(database, keyspace)
            entry = self._find(database, keyspace, name)
            if entry is None:
                return None
            connection.execute("DELETE FROM collections WHERE uid = ?", (entry.uid,))
            return entry.uid

    def uids(self) -> set[str]:
        """Return the uids of all collections."""
        with self._reading() as connection:
            return {str(uid) for (uid,) in connection.execute("SELECT uid FROM collections")}

    def _find(self, database: str, keyspace: str, name: str) -> CollectionEntry | None:
        found = self._file.connection.execute(f"{_SELECT} AND name = ?", (database, keyspace, name))
        return next((_entry(*values) for values in found), None)

    def _check_keyspace(self, database: str, keyspace: str) -> None:
        sql = "SELECT 1 FROM keyspaces WHERE database = ? AND name = ?"
        if next(iter(self._file.connection.execute(sql, (database, keyspace))), None) is None:
            raise DataApiError("UNKNOWN_KEYSPACE", keyspace=keyspace)


def _entry(name: Any, uid: Any, settings: Any, attributes: Any) -> CollectionEntry:
    return CollectionEntry(
        str(name), str(uid), msgspec.json.decode(settings, type=CollectionSettings), bytes(attributes)
    )
