"""The tables of one collection in SQLite: documents, and the postings that filters search.

A document's *position* is its row number: given at insertion, kept through every change, never used again. It is
the order of storage, the way that pages go on, and the document's number in every index.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

import apsw
import numpy as np

from services.documents.codec import decode_object
from services.documents.indexing import Indexing
from services.documents.paths import Path
from services.store.filters import Filter, FilterCompiler, Sql
from services.store.postings import Posting, postings_of
from services.store.records import Record, StoredVector
from services.store.vectors.flat import Positions
from services.store.vectors.similarity import Vectors

_SCHEMA = """
CREATE TABLE documents (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id_key BLOB NOT NULL UNIQUE,
    json BLOB NOT NULL,
    vector BLOB,
    literal BLOB,
    vectorize BLOB,
    lexical BLOB
);
CREATE TABLE paths (number INTEGER PRIMARY KEY, segments TEXT NOT NULL UNIQUE);
CREATE TABLE postings (
    path INTEGER NOT NULL,
    key BLOB NOT NULL,
    document INTEGER NOT NULL,
    PRIMARY KEY (path, key, document)
) WITHOUT ROWID;
"""
_COLUMNS = "d.position, d.id_key, d.json, d.vector, d.literal, d.vectorize, d.lexical"
#: How far a condition's postings are counted to find the most selective one.
_ESTIMATE_LIMIT = 1000
_LOAD_ROWS = 4096


class Row(NamedTuple):
    """A document in its place."""

    position: int
    id_key: bytes
    record: Record


def open_database(path: FilePath, *, create: bool = False) -> apsw.Connection:
    """Open a database file so that a committed transaction is on disk. Raises `apsw.Error`."""
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(10_000)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -16000")
    return connection


def create_tables(connection: apsw.Connection) -> None:
    """Create the tables of a new collection."""
    connection.execute(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT")


class DocumentTables:
    """The documents of one collection over one connection. Use from one thread at a time.

    Changes belong in a transaction that the caller holds.
    """

    def __init__(self, connection: apsw.Connection, indexing: Indexing) -> None:
        self.connection = connection
        self._indexing = indexing
        self._path_numbers: dict[Path, int] = {}
        self._filters = FilterCompiler(self._known_path, self._estimate)

    # --- reading ---

    def by_id(self, id_key: bytes) -> Row | None:
        """Return the document of an id."""
        sql = f"SELECT {_COLUMNS} FROM documents AS d WHERE d.id_key = ?"
        return next((_row(values) for values in self.connection.execute(sql, (id_key,))), None)

    def by_position(self, position: int) -> Row | None:
        """Return the document in a place."""
        sql = f"SELECT {_COLUMNS} FROM documents AS d WHERE d.position = ?"
        return next((_row(values) for values in self.connection.execute(sql, (position,))), None)

    def matching(self, filter_: Filter, *, after: int = 0, limit: int = -1) -> Iterator[Row]:
        """Yield the documents that match, in storage order, from the first one after a position."""
        where = self._filters.where(filter_)
        sql = f"SELECT {_COLUMNS} FROM documents AS d WHERE d.position > ? AND {where.text} ORDER BY d.position LIMIT ?"
        for values in self.connection.execute(sql, (after, *where.bindings, limit)):
            yield _row(values)

    def positions_matching(self, filter_: Filter) -> Positions:
        """Return the positions int64[n] of the documents that match, unordered."""
        where = self._filters.where(filter_)
        sql = f"SELECT d.position FROM documents AS d WHERE {where.text}"
        found = self.connection.execute(sql, where.bindings)
        return np.fromiter((position for (position,) in found), np.int64)

    def count(self, filter_: Filter, limit: int) -> int:
        """Return how many documents match, counting to the limit; -1 counts all."""
        where = self._filters.where(filter_)
        sql = f"SELECT count(*) FROM (SELECT 1 FROM documents AS d WHERE {where.text} LIMIT ?)"
        return int(self._value(sql, (*where.bindings, limit)))

    def totals(self) -> tuple[int, int]:
        """Return how many documents there are, and how many have a vector."""
        documents = int(self._value("SELECT count(*) FROM documents"))
        vectors = int(self._value("SELECT count(*) FROM documents WHERE length(vector) > 0"))
        return documents, vectors

    def vectors(self, dimension: int) -> Iterator[tuple[list[int], Vectors]]:
        """Yield all vectors in portions: their positions and float32[n, dimension]."""
        cursor = self.connection.execute("SELECT position, vector FROM documents WHERE length(vector) > 0")
        while portion := [values for _, values in zip(range(_LOAD_ROWS), cursor, strict=False)]:
            joined = np.frombuffer(b"".join(vector for _, vector in portion), "<f4")
            yield [position for position, _ in portion], joined.reshape(-1, dimension)

    def explain(self, filter_: Filter) -> list[str]:
        """Return SQLite's plan for finding the documents of a filter, a line each."""
        where = self._filters.where(filter_)
        sql = f"EXPLAIN QUERY PLAN SELECT d.position FROM documents AS d WHERE {where.text}"
        return [str(detail) for *_, detail in self.connection.execute(sql, where.bindings)]

    # --- changing ---

    def insert(self, id_key: bytes, record: Record) -> int | None:
        """Insert a document and return its position; None when its id is taken."""
        if self.by_id(id_key) is not None:
            return None
        self.connection.execute(
            "INSERT INTO documents (id_key, json, vector, literal, vectorize, lexical) VALUES (?, ?, ?, ?, ?, ?)",
            (id_key, *_values(record)),
        )
        position = self.connection.last_insert_rowid()
        self._add_postings(position, postings_of(decode_object(record.json), self._indexing))
        return position

    def replace(self, row: Row, record: Record) -> None:
        """Put a document in the place of another one of the same id."""
        self.connection.execute(
            "UPDATE documents SET json = ?, vector = ?, literal = ?, vectorize = ?, lexical = ? WHERE position = ?",
            (*_values(record), row.position),
        )
        if record.json != row.record.json:
            old = postings_of(decode_object(row.record.json), self._indexing)
            new = postings_of(decode_object(record.json), self._indexing)
            self._remove_postings(row.position, old - new)
            self._add_postings(row.position, new - old)

    def delete(self, row: Row) -> None:
        """Delete a document."""
        self.connection.execute("DELETE FROM documents WHERE position = ?", (row.position,))
        self._remove_postings(row.position, postings_of(decode_object(row.record.json), self._indexing))

    def truncate(self) -> None:
        """Delete every document."""
        self.connection.execute("DELETE FROM postings; DELETE FROM documents")

    def forget_paths(self) -> None:
        """Forget remembered path numbers, after a transaction that gave some was rolled back."""
        self._path_numbers.clear()

    # --- details ---

    def _add_postings(self, position: int, postings: set[Posting]) -> None:
        rows = sorted((self._path_number(path), key) for path, key in postings)
        self.connection.executemany(
            "INSERT INTO postings (path, key, document) VALUES (?, ?, ?)",
            ((number, key, position) for number, key in rows),
        )

    def _remove_postings(self, position: int, postings: set[Posting]) -> None:
        self.connection.executemany(
            "DELETE FROM postings WHERE path = ? AND key = ? AND document = ?",
            ((self._path_number(path), key, position) for path, key in postings),
        )

    def _known_path(self, path: Path) -> int | None:
        number = self._path_numbers.get(path)
        if number is None:
            sql = "SELECT number FROM paths WHERE segments = ?"
            number = next((int(value) for (value,) in self.connection.execute(sql, (_segments(path),))), None)
            if number is not None:
                self._path_numbers[path] = number
        return number

    def _path_number(self, path: Path) -> int:
        number = self._known_path(path)
        if number is None:
            self.connection.execute("INSERT INTO paths (segments) VALUES (?)", (_segments(path),))
            number = self.connection.last_insert_rowid()
            self._path_numbers[path] = number
        return number

    def _estimate(self, postings: Sql) -> int:
        sql = f"SELECT count(*) FROM (SELECT * FROM ({postings.text}) LIMIT {_ESTIMATE_LIMIT})"
        return int(self._value(sql, postings.bindings))

    def _value(self, sql: str, bindings: Sequence[int | bytes] = ()) -> int:
        return next(int(value) for (value,) in self.connection.execute(sql, bindings))


def _segments(path: Path) -> str:
    return json.dumps(path, ensure_ascii=False, separators=(",", ":"))


def _values(record: Record) -> tuple[bytes | None, ...]:
    vector = record.vector
    return (
        record.json,
        None if vector is None else vector.values,
        None if vector is None or not vector.literal else vector.literal,
        record.vectorize,
        record.lexical,
    )


def _row(values: tuple[object, ...]) -> Row:
    position, id_key, document, vector, literal, vectorize, lexical = values
    stored = None if vector is None else StoredVector(bytes(vector), bytes(literal or b""))  # type: ignore[call-overload]
    return Row(position, id_key, Record(document, stored, vectorize, lexical))  # type: ignore[arg-type]
