"""Which databases, keyspaces and collections there are, with the collections' settings."""

import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any

import apsw
import msgspec

from services.runtime.errors import ConfigurationError, DataApiError
from services.store.audit import THE_STORE, Audit
from services.store.faults import DISK_ERRORS, describe, read_failure
from services.store.migrations import FileFormat, format_version
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
_UNFINISHED_BACKUPS = "CREATE TABLE unfinished_backups (folder TEXT PRIMARY KEY) WITHOUT ROWID;"
#: `dropping` is 1 from when a database was dropped until its name is free. Times are in seconds since 1970.
_ACCESS = """
CREATE TABLE databases (
    name TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, dropping INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    role TEXT NOT NULL,
    all_databases INTEGER NOT NULL,
    rate REAL,
    created INTEGER NOT NULL,
    expires INTEGER
) WITHOUT ROWID;
CREATE TABLE token_databases (
    token TEXT NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    database TEXT NOT NULL,
    PRIMARY KEY (token, database)
) WITHOUT ROWID;
"""


def _note_backups(connection: apsw.Connection) -> None:
    connection.execute(_UNFINISHED_BACKUPS)


def _note_access(connection: apsw.Connection) -> None:
    """Make the tables of databases and tokens; databases are what the keyspaces name."""
    connection.execute(_ACCESS)
    for (name,) in connection.execute("SELECT DISTINCT database FROM keyspaces").fetchall():
        _insert_database(connection, str(name))


#: The form of the catalogue's file.
FORMAT = FileFormat(_SCHEMA + _UNFINISHED_BACKUPS + _ACCESS, (_note_backups, _note_access))
#: Rows that are remembered with what they say, as every find asks for one.
_REMEMBERED_ENTRIES = 1_000
_SELECT = "SELECT name, uid, settings, attributes FROM collections WHERE database = ? AND keyspace = ?"


@dataclass(frozen=True, slots=True)
class CollectionEntry:
    """A collection of the catalogue. `attributes` are its creator's bytes, never read here."""

    name: str
    uid: str
    settings: CollectionSettings
    attributes: bytes


class Catalog:
    """The catalogue, in a SQLite file of its own. Safe to use from many threads.

    Its methods raise `FAILED_READ_REQUEST` and `FAILED_WRITE_REQUEST` where the disk fails, and where what is to be in
    the audit log cannot be written there. The constructor raises
    `FormatError`, and `ConfigurationError` where the file cannot be opened.
    """

    def __init__(self, path: FilePath, *, read_only: bool = False) -> None:
        try:
            self._file = Writer(path, create=True, read_only=read_only)
            self._file.connection.execute("PRAGMA foreign_keys = ON")
            if self._file.connection.readonly("main"):
                FORMAT.check(format_version(self._file.connection), str(path))
                _stand_in(self._file.connection)
            else:
                FORMAT.prepare(self._file.connection, str(path))
        except (apsw.Error, OSError) as problem:
            raise ConfigurationError(
                f"{path} cannot be opened: {describe(problem, path)}. Without it no collection can be found"
            ) from problem
        self._lock = threading.Lock()
        #: Counts the changes of databases and tokens, those among them that failed.
        self.changes = 0
        #: Beside the file; has changes of databases and tokens.
        self.audit = Audit(path.with_name("audit.log"))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """Give the connection to one thread, to read."""
        with self._lock:
            self._file.revive()
            try:
                yield self._file.connection
            except (*DISK_ERRORS, apsw.ConnectionClosedError) as problem:
                raise read_failure(problem, self._file.path) from problem

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
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

    def create_keyspace(
        self, database: str, name: str, *, existing_database: bool = False, who: str = THE_STORE
    ) -> None:
        """Create a keyspace, unless it is there, and its database, unless that has to be there.

        `who` asked for it, for the audit log. Raises `UNKNOWN_DATABASE` for a missing one that has to be there, and
        for one that is being dropped.
        """
        with self.writing() as connection:
            self._use_database(connection, database, who, create=not existing_database)
            connection.execute("INSERT OR IGNORE INTO keyspaces VALUES (?, ?)", (database, name))

    def keyspaces(self, database: str) -> list[str]:
        """Return the names of a database's keyspaces, sorted."""
        sql = "SELECT name FROM keyspaces WHERE database = ? ORDER BY name"
        with self.reading() as connection:
            return [str(name) for (name,) in connection.execute(sql, (database,))]

    def drop_keyspace(self, database: str, name: str) -> list[str]:
        """Drop a keyspace with its collections and return their uids; a missing one is no error."""
        with self.writing() as connection:
            dropped = [str(uid) for _, uid, *_ in connection.execute(_SELECT, (database, name))]
            sql = "DELETE FROM collections WHERE database = ? AND keyspace = ?"
            connection.execute(sql, (database, name))
            connection.execute("DELETE FROM keyspaces WHERE database = ? AND name = ?", (database, name))
        return dropped

    def collections(self, database: str, keyspace: str) -> list[CollectionEntry]:
        """Return the collections of a keyspace by name. Raises `UNKNOWN_KEYSPACE`."""
        with self.reading():
            self._check_keyspace(database, keyspace)
            return self._entries(database, keyspace)

    def collection(self, database: str, keyspace: str, name: str, uid: str = "") -> CollectionEntry:
        """Return a collection.

        Raises `UNKNOWN_KEYSPACE`, `UNKNOWN_COLLECTION_OR_TABLE`, or `COLLECTION_CHANGED` when it is not the one
        of the uid, where one is given.
        """
        with self.reading() as connection:
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
        with self.writing() as connection:
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
            self._insert(database, keyspace, entry)
            return entry, True

    def drop_collection(self, database: str, keyspace: str, name: str) -> str | None:
        """Drop a collection and return its uid; None where there is none. Raises `UNKNOWN_KEYSPACE`."""
        with self.writing() as connection:
            self._check_keyspace(database, keyspace)
            entry = self._find(database, keyspace, name)
            if entry is None:
                return None
            connection.execute("DELETE FROM collections WHERE uid = ?", (entry.uid,))
            return entry.uid

    def uids(self) -> set[str]:
        """Return the uids of all collections."""
        with self.reading() as connection:
            return {str(uid) for (uid,) in connection.execute("SELECT uid FROM collections")}

    # --- backups ---

    def databases(self) -> list[str]:
        """Return the names of all databases but those that are being dropped, sorted."""
        with self.reading() as connection:
            found = connection.execute("SELECT name FROM databases WHERE NOT dropping ORDER BY name")
            return [str(name) for (name,) in found]

    def contents(self, database: str) -> dict[str, list[CollectionEntry]]:
        """Return all collections of a database by keyspace and name, of one moment."""
        with self.reading() as connection:
            sql = "SELECT name FROM keyspaces WHERE database = ? ORDER BY name"
            keyspaces = [str(name) for (name,) in connection.execute(sql, (database,))]
            return {keyspace: self._entries(database, keyspace) for keyspace in keyspaces}

    def restore(
        self,
        database: str,
        contents: Mapping[str, Sequence[CollectionEntry]],
        *,
        replace: bool,
        source: str,
        who: str,
    ) -> list[str]:
        """Put keyspaces and collections into a database, all or nothing, and return the uids of those replaced.

        `source` is where they are from and `who` asked for it, for the audit log. Raises `RESTORE_TARGET_EXISTS`
        where one of the collections is there and is not to be replaced.
        """
        with self.writing() as connection:
            database_id = self._use_database(connection, database, who, create=True)
            existing = self._existing(database, contents)
            if existing and not replace:
                raise DataApiError("RESTORE_TARGET_EXISTS", database=database, collections=", ".join(existing))
            delete = "DELETE FROM collections WHERE uid = ?"
            connection.executemany(delete, ((entry.uid,) for entry in existing.values()))
            for keyspace, entries in contents.items():
                connection.execute("INSERT OR IGNORE INTO keyspaces VALUES (?, ?)", (database, keyspace))
                for entry in entries:
                    self._insert(database, keyspace, entry)
            self.audit.note(
                "database restored",
                who,
                database=database,
                database_id=database_id,
                backup=source,
                collections=sum(map(len, contents.values())),
                replaced=list(existing),
            )
        return [entry.uid for entry in existing.values()]

    def existing(self, database: str, contents: Mapping[str, Sequence[CollectionEntry]]) -> list[str]:
        """Return, as `KEYSPACE.COLLECTION`, which of some collections a database has by name."""
        with self.reading():
            return list(self._existing(database, contents))

    def note_backup(self, folder: str) -> None:
        """Remember a folder that is removed at the next start unless it is forgotten before."""
        with self.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO unfinished_backups VALUES (?)", (folder,))

    def forget_backup(self, folder: str) -> None:
        """Forget a folder that `note_backup` remembered."""
        with self.writing() as connection:
            connection.execute("DELETE FROM unfinished_backups WHERE folder = ?", (folder,))

    def noted_backups(self) -> list[str]:
        """Return the folders that `note_backup` remembered."""
        with self.reading() as connection:
            return [str(folder) for (folder,) in connection.execute("SELECT folder FROM unfinished_backups")]

    # --- details ---

    def _use_database(self, connection: apsw.Connection, name: str, who: str, *, create: bool) -> str:
        """Have a database and return its id.

        Raises `UNKNOWN_DATABASE` where it is missing and not to be created, or being dropped.
        """
        found = connection.execute("SELECT id, dropping FROM databases WHERE name = ?", (name,)).fetchone()
        if found is None and create:
            self.changes += 1
            database_id = _insert_database(connection, name)
            self.audit.note("database created", who, database=name, database_id=database_id)
            return database_id
        if found is None or found[1]:
            raise DataApiError("UNKNOWN_DATABASE", database=name)
        return str(found[0])

    def _existing(self, database: str, contents: Mapping[str, Sequence[CollectionEntry]]) -> dict[str, CollectionEntry]:
        found = {
            f"{keyspace}.{entry.name}": self._find(database, keyspace, entry.name)
            for keyspace, entries in contents.items()
            for entry in entries
        }
        return {name: entry for name, entry in found.items() if entry is not None}

    def _entries(self, database: str, keyspace: str) -> list[CollectionEntry]:
        found = self._file.connection.execute(f"{_SELECT} ORDER BY name", (database, keyspace))
        return [_entry(*values) for values in found]

    def _insert(self, database: str, keyspace: str, entry: CollectionEntry) -> None:
        self._file.connection.execute(
            "INSERT INTO collections (uid, database, keyspace, name, settings, attributes) VALUES (?, ?, ?, ?, ?, ?)",
            (entry.uid, database, keyspace, entry.name, msgspec.json.encode(entry.settings), entry.attributes),
        )

    def _find(self, database: str, keyspace: str, name: str) -> CollectionEntry | None:
        found = self._file.connection.execute(f"{_SELECT} AND name = ?", (database, keyspace, name))
        return next((_entry(*values) for values in found), None)

    def _check_keyspace(self, database: str, keyspace: str) -> None:
        sql = "SELECT 1 FROM keyspaces WHERE database = ? AND name = ?"
        if next(iter(self._file.connection.execute(sql, (database, keyspace))), None) is None:
            raise DataApiError("UNKNOWN_KEYSPACE", keyspace=keyspace)


@lru_cache(maxsize=_REMEMBERED_ENTRIES)
def _entry(name: Any, uid: Any, settings: Any, attributes: Any) -> CollectionEntry:
    return CollectionEntry(
        str(name), str(uid), msgspec.json.decode(settings, type=CollectionSettings), bytes(attributes)
    )


def _insert_database(connection: apsw.Connection, name: str) -> str:
    database_id = str(uuid.uuid4())
    sql = "INSERT INTO databases (name, id, created) VALUES (?, ?, ?)"
    connection.execute(sql, (name, database_id, int(time.time())))
    return database_id


def _stand_in(connection: apsw.Connection) -> None:
    """Give a file of an earlier form that can only be read, for as long as it is open, the tables that it lacks."""
    if format_version(connection) in (0, FORMAT.version):
        return
    connection.execute(_ACCESS.replace("CREATE TABLE", "CREATE TEMP TABLE"))
    for (name,) in connection.execute("SELECT DISTINCT database FROM keyspaces").fetchall():
        _insert_database(connection, str(name))
