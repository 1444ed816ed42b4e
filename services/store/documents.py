"""The tables of one collection in SQLite: documents, and the postings that filters search.

A document's *position* is its row number: given at insertion, kept through every change, never used again. It is
the order of storage, the way that pages go on, and the document's number in every index. Its *sequence* is the
number of the write that changed it last, so that what is derived from the documents can catch up.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path as FilePath
from typing import NamedTuple

import apsw
import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from services.documents.indexing import Indexing
from services.documents.paths import ID, Path
from services.store.algebra import FilterAlgebra
from services.store.bitmaps import Bitmaps, positions_of
from services.store.conditions import ALL_VALUES, KeyRange, keys_of
from services.store.filter_index import Change, FilterIndex, PostingChanges
from services.store.filter_sql import ESTIMATE_LIMIT, FilterCompiler, Sql
from services.store.filters import Filter, Range, conjuncts
from services.store.migrations import FileFormat
from services.store.ordering import SortField, order_terms
from services.store.postings import IndexedRecord, indexed_record
from services.store.records import Record, StoredVector
from services.store.sort_walk import SortWalk
from services.store.vectors.places import Positions
from services.store.vectors.similarity import Vectors

_SCHEMA = """
CREATE TABLE documents (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id_key BLOB NOT NULL UNIQUE,
    sequence INTEGER NOT NULL,
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
CREATE INDEX postings_by_document ON postings (document, path, key);
CREATE TABLE writes (sequence INTEGER NOT NULL);
INSERT INTO writes VALUES (0);
"""
#: What was written since a snapshot is found by a few bytes of each document, not by reading all pages of all of them.
_BY_SEQUENCE = "CREATE INDEX documents_by_sequence ON documents (sequence);"


def _index_sequences(connection: apsw.Connection) -> None:
    connection.execute(_BY_SEQUENCE)


#: The form of a collection's file.
FORMAT = FileFormat(_SCHEMA + _BY_SEQUENCE, (_index_sequences,))
_COLUMNS = "d.position, d.id_key, d.json, d.vector, d.literal, d.vectorize, d.lexical"
_WITHOUT_VECTOR = "d.position, d.id_key, d.json, NULL, NULL, d.vectorize, d.lexical"
#: Numbers of paths that one connection remembers; beyond, it forgets them all and looks them up again.
_REMEMBERED_PATHS = 10_000


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
    if create and not connection.readonly("main"):
        # Has an effect on new files only: their free pages can be given back a few at a time.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def create_tables(connection: apsw.Connection) -> None:
    """Create the tables of a collection, or bring those of an earlier version up. Raises `FormatError`."""
    FORMAT.prepare(connection, "its file")


class DocumentTables:
    """The documents of one collection over one connection. Use from one thread at a time.

    Changes belong in a transaction that the caller holds, and `begin_write` comes before them; `changes` has what
    they did to the postings since. With a filter index in memory, reading belongs in a transaction too, and nothing
    is changed: the index knows only what is committed.
    """

    def __init__(self, connection: apsw.Connection, indexing: Indexing, index: FilterIndex | None = None) -> None:
        self.connection = connection
        self._indexing = indexing
        self._sequence = 0
        self._path_numbers: dict[Path, int] = {}
        self.changes = PostingChanges(0)
        self._filters = FilterCompiler(indexing, self._known_path, self._estimate)
        self._algebra: FilterAlgebra | None = None
        if index is not None:
            bitmaps = Bitmaps(connection, index)
            self._algebra = FilterAlgebra(indexing, self._known_path, bitmaps)
            self._walk = SortWalk(connection, self._known_path, bitmaps)

    # --- reading ---

    def at(self, positions: Iterable[int]) -> Iterator[Row]:
        """Yield the documents in some places, in that order, without those that are not there."""
        sql = f"SELECT {_COLUMNS} FROM documents AS d WHERE d.position = ?"
        return map(_row, self.connection.executemany(sql, zip(positions)))

    def held(self, positions: Positions, *, vectors: bool = True) -> dict[int, Row]:
        """Return by position the documents in some places int64[n], without those that are not there.

        Without `vectors` they are as if they had none, and are read faster.
        """
        if not len(positions):
            return {}
        columns = _COLUMNS if vectors else _WITHOUT_VECTOR
        sql = f"SELECT {columns} FROM carray(?) AS c CROSS JOIN documents AS d ON d.position = c.value"
        found = self.connection.execute(sql, (apsw.carray(positions),)).fetchall()
        return {row.position: row for row in map(_row, found)}

    def matching(self, filter_: Filter, *, after: int = 0, limit: int) -> Iterator[Row]:
        """Yield the documents that match, in storage order, from the first one after a position; -1 yields all."""
        members = self._members(filter_, whole=limit < 0)
        if members is not None:
            following = members.iter_equal_or_larger(after + 1)
            yield from self.at(following if limit < 0 else islice(following, limit))
            return
        where = self._filters.where(filter_)
        sql = f"SELECT {_COLUMNS} {_matching(where)}"
        for values in self.connection.execute(sql, (after, *where.bindings, limit)):
            yield _row(values)

    def ordered(self, filter_: Filter, fields: Sequence[SortField], *, skip: int, limit: int) -> list[Row]:
        """Return the documents that match, by the values at some paths, ties by `_id`.

        Raises `SORT_CLAUSE_PATH_UNINDEXED`.
        """
        terms = order_terms(fields, self._indexing, self._known_path)
        ordered = f"ORDER BY {terms.text} LIMIT ? OFFSET ?"
        members = self._members(filter_, whole=True)
        if members is not None and not members:
            return []
        if members is None:
            where = self._filters.where(filter_)
            sql = f"SELECT d.position FROM documents AS d WHERE {where.text} {ordered}"
            found = self.connection.execute(sql, (*where.bindings, *terms.bindings, limit, skip))
        else:
            candidates = self._walk.narrowed(members, fields, skip + limit, self._within(filter_, fields))
            sql = f"SELECT d.position FROM documents AS d WHERE d.position IN carray(?) {ordered}"
            bindings = (apsw.carray(positions_of(candidates)), *terms.bindings, limit, skip)
            found = self.connection.execute(sql, bindings)
        return list(self.at([int(position) for (position,) in found]))

    def positions_matching(self, filter_: Filter) -> Positions:
        """Return the positions int64[n] of the documents that match, ascending."""
        members = self._members(filter_, whole=True)
        if members is not None:
            return positions_of(members)
        found = self._filters.positions(filter_)
        rows = self.connection.execute(found.text, found.bindings)
        return np.unique(np.fromiter((position for (position,) in rows), np.int64))

    def count(self, filter_: Filter, limit: int) -> int:
        """Return how many documents match, counting to the limit, or further where that is as cheap; -1 counts all."""
        members = self._members(filter_, whole=limit < 0)
        if members is not None:
            return len(members)
        where = self._filters.where(filter_)
        sql = f"SELECT count(*) FROM (SELECT 1 FROM documents AS d WHERE {where.text} LIMIT ?)"
        return int(self._value(sql, (*where.bindings, limit)))

    def written(self) -> tuple[Positions, npt.NDArray[np.int64]]:
        """Return the position int64[n] of every document, ascending, and the number int64[n] of its last write."""
        # In no order, so that the index on sequences is read alone; it is in the order of the last writes.
        rows = self.connection.execute("SELECT position, sequence FROM documents").fetchall()
        columns = np.array(rows, np.int64).reshape(-1, 2)
        ordered = columns[np.argsort(columns[:, 0], kind="stable")]
        return ordered[:, 0].copy(), ordered[:, 1].copy()

    def totals(self) -> tuple[int, int]:
        """Return how many documents there are, and how many have a vector. Reads them all."""
        documents = int(self._value("SELECT count(*) FROM documents"))
        return documents, int(self._value("SELECT count(*) FROM documents WHERE length(vector) > 0"))

    def last_write(self) -> int:
        """Return the number of the last write."""
        return self._value("SELECT sequence FROM writes")

    def vectors_of(self, positions: Positions, dimension: int) -> tuple[Positions, Vectors]:
        """Return the positions int64[m] of those documents that have a vector, and float32[m, dimension]."""
        sql = "SELECT position, vector FROM documents WHERE position = ? AND length(vector) > 0"
        rows = self.connection.executemany(sql, ((position,) for position in positions.tolist())).fetchall()
        vectors: Iterator[bytes] = (vector for _, vector in rows)  # type: ignore[misc]
        joined = np.frombuffer(b"".join(vectors), "<f4")
        return np.array([position for position, _ in rows], np.int64), joined.reshape(-1, dimension)

    def explain(self, filter_: Filter) -> list[str]:
        """Return the plan for finding the documents of a filter in storage order, a line each: bitmaps or SQLite's."""
        plan = None if self._algebra is None else self._algebra.explain(filter_)
        if plan is not None:
            return [*plan, "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)"]
        where = self._filters.where(filter_)
        sql = f"EXPLAIN QUERY PLAN SELECT {_COLUMNS} {_matching(where)}"
        return [str(detail) for *_, detail in self.connection.execute(sql, (0, *where.bindings, 1))]

    # --- changing ---

    def begin_write(self) -> int:
        """Give a number to the write that follows, and return it."""
        self._sequence = self._value("UPDATE writes SET sequence = sequence + 1 RETURNING sequence")
        self.changes = PostingChanges(self._sequence)
        return self._sequence

    def insert(self, document: IndexedRecord) -> int | None:
        """Insert a document and return its position; None when its id is taken."""
        self.connection.execute(
            "INSERT INTO documents (id_key, sequence, json, vector, literal, vectorize, lexical) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id_key) DO NOTHING",
            (document.id_key, self._sequence, *_values(document.record)),
        )
        if not self.connection.changes():
            return None
        position = self.connection.last_insert_rowid()
        known = self._path_numbers
        added = [(known.get(path) or self._path_number(path), key, position) for path, key in document.postings]
        self._change_postings(Change(position, (), added, 1))
        return position

    def replace(self, row: Row, record: Record) -> None:
        """Put a document in the place of another one of the same id."""
        self.connection.execute(
            "UPDATE documents SET sequence = ?, json = ?, vector = ?, literal = ?, vectorize = ?, lexical = ? "
            "WHERE position = ?",
            (self._sequence, *_values(record), row.position),
        )
        if record.json != row.record.json:
            wanted = {
                (self._path_number(path), key, row.position)
                for path, key in indexed_record(record, self._indexing).postings
            }
            sql = "SELECT path, key FROM postings WHERE document = ?"
            held = {
                (int(path), bytes(key), row.position) for path, key in self.connection.execute(sql, (row.position,))
            }
            self._change_postings(Change(row.position, held - wanted, wanted - held))

    def delete(self, position: int) -> None:
        """Delete a document."""
        self.connection.execute("DELETE FROM documents WHERE position = ?", (position,))
        sql = "DELETE FROM postings WHERE document = ? RETURNING path, key"
        removed = [(int(path), bytes(key), position) for path, key in self.connection.execute(sql, (position,))]
        self.changes.documents.append(Change(position, removed, (), -1))

    def truncate(self) -> None:
        """Delete every document."""
        self.connection.execute("DELETE FROM postings; DELETE FROM documents")
        self.changes.truncated = True

    def forget_paths(self) -> None:
        """Forget remembered path numbers, after a transaction that gave some was rolled back."""
        self._path_numbers.clear()

    # --- details ---

    def _members(self, filter_: Filter, *, whole: bool) -> BitMap64 | None:
        return None if self._algebra is None else self._algebra.matching(filter_, whole=whole)

    def _within(self, filter_: Filter, fields: Sequence[SortField]) -> KeyRange:
        """Return where the values of the first field are for all that match."""
        for part in conjuncts(filter_):
            if isinstance(part, Range) and fields and part.path == fields[0].path != ID:
                keys = keys_of(part, self._indexing)
                if isinstance(keys, KeyRange):
                    return keys
        return ALL_VALUES

    def _change_postings(self, change: Change) -> None:
        self.connection.executemany("DELETE FROM postings WHERE path = ? AND key = ? AND document = ?", change.removed)
        self.connection.executemany("INSERT INTO postings (path, key, document) VALUES (?, ?, ?)", change.added)
        self.changes.documents.append(change)

    def _known_path(self, path: Path) -> int | None:
        number = self._path_numbers.get(path)
        if number is None:
            sql = "SELECT number FROM paths WHERE segments = ?"
            number = next((int(value) for (value,) in self.connection.execute(sql, (_segments(path),))), None)
            if number is not None:
                self._remember(path, number)
        return number

    def _path_number(self, path: Path) -> int:
        number = self._known_path(path)
        if number is None:
            self.connection.execute("INSERT INTO paths (segments) VALUES (?)", (_segments(path),))
            number = self.connection.last_insert_rowid()
            self._remember(path, number)
        return number

    def _remember(self, path: Path, number: int) -> None:
        if len(self._path_numbers) >= _REMEMBERED_PATHS:
            self._path_numbers.clear()
        self._path_numbers[path] = number

    def _estimate(self, positions: Sql) -> int:
        # A limit that is bound would have SQLite plan anew each time.
        sql = f"SELECT count(*) FROM (SELECT 1 FROM ({positions.text}) LIMIT {ESTIMATE_LIMIT})"
        return self._value(sql, positions.bindings)

    def _value(self, sql: str, bindings: Sequence[int | bytes] = ()) -> int:
        return next(int(value) for (value,) in self.connection.execute(sql, bindings))


def _matching(where: Sql) -> str:
    return f"FROM documents AS d WHERE d.position > ? AND {where.text} ORDER BY d.position LIMIT ?"


def _segments(path: Path) -> str:
    # Escaped to ASCII, so that a name with half a surrogate pair is text that SQLite takes.
    return json.dumps(path, separators=(",", ":"))


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
