"""One collection: the read path and the write path over its tables and its vector index."""

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import apsw
import numpy as np

from services.documents.codec import decode_object
from services.documents.values import id_key
from services.runtime.errors import DataApiError
from services.store import modify
from services.store.catalog import CollectionEntry
from services.store.changes import (
    Changed,
    Deleted,
    IndexChanges,
    InsertOutcome,
    Replacement,
    Selection,
    Update,
    VectorOrder,
)
from services.store.documents import DocumentTables, Row, create_tables, open_database
from services.store.filters import EVERYTHING, Filter
from services.store.ordering import FieldOrder, sort_rows
from services.store.projection import Projection
from services.store.records import Found, Record
from services.store.vectors.flat import FlatIndex
from services.store.vectors.similarity import Metric, Vectors
from services.store.write_queue import WriteQueue

_FILE = "documents.db"


@dataclass(slots=True)
class _Written:
    """A write's result, what it means for the index, and an error to raise once what it did is durable."""

    result: Any
    index: IndexChanges = field(default_factory=IndexChanges)
    error: DataApiError | None = None


class Collection:
    """A collection that is open. Safe to use from many threads: one writes at a time, readers never wait."""

    def __init__(self, folder: FilePath, keyspace: str, entry: CollectionEntry) -> None:
        self.entry = entry
        self.keyspace = keyspace
        self._folder = folder
        self._settings = entry.settings
        self._idle: list[DocumentTables] = []
        self._idle_lock = threading.Lock()
        writer = self._open()
        self._tables = DocumentTables(writer, self._settings.indexing)
        self._queue = WriteQueue(writer, self._apply_to_index, self._tables.forget_paths)
        self._index: FlatIndex | None = None
        if self._settings.vector is not None:
            self._index = FlatIndex(self._settings.vector.dimension, self._settings.vector.metric)
            for positions, vectors in self._tables.vectors(self._settings.vector.dimension):
                self._index.put(positions, vectors)

    # --- reading ---

    def find(
        self, selection: Selection, projection: Projection, *, skip: int, limit: int, after: int
    ) -> tuple[list[Found], int | None]:
        """Return documents as projected, and the position to go on after where more follow in storage order."""
        with self._reading() as tables:
            if selection.order is None:
                rows = list(tables.matching(selection.filter, after=after, limit=limit + 1))
                more = rows[limit - 1].position if len(rows) > limit else None
                return [projection.apply(Found(row.record)) for row in rows[:limit]], more
            found = self._ordered(tables, selection, skip + limit)[skip:]
        return [projection.apply(Found(row.record, similarity)) for row, similarity in found], None

    def count(self, filter_: Filter, limit: int) -> tuple[int, bool]:
        """Return how many documents match, up to a limit (0: all), and whether there are more."""
        with self._reading() as tables:
            count = tables.count(filter_, limit + 1 if limit else -1)
        return (limit, True) if limit and count > limit else (count, False)

    def totals(self) -> tuple[int, int]:
        """Return how many documents there are, and how many have a vector."""
        with self._reading() as tables:
            return tables.totals()

    def explain(self, filter_: Filter) -> list[str]:
        """Return the plan for finding the documents of a filter, a line each."""
        with self._reading() as tables:
            return tables.explain(filter_)

    def _ordered(self, tables: DocumentTables, selection: Selection, limit: int) -> list[tuple[Row, float | None]]:
        order = selection.order
        if isinstance(order, VectorOrder):
            return list(self._nearest(tables, selection.filter, order.query, limit))
        assert isinstance(order, FieldOrder)
        most = order.max_candidates
        rows = list(tables.matching(selection.filter, limit=most or -1))
        if most and len(rows) >= most:
            raise DataApiError("OVERLOADED_SORT_ROW_LIMIT", maxLimit=most)
        return [(row, None) for row in sort_rows(rows, order.fields)[:limit]]

    def _nearest(
        self, tables: DocumentTables, filter_: Filter, query: bytes, limit: int
    ) -> Iterator[tuple[Row, float | None]]:
        if self._index is None:
            raise DataApiError("VECTOR_SEARCH_NOT_SUPPORTED", keyspace=self.keyspace, collection=self.entry.name)
        vector = self._vector(query)
        selected = None if filter_ == EVERYTHING else tables.positions_matching(filter_)
        nearest = self._index.search(vector, limit, selected)
        for position, similarity in zip(nearest.positions.tolist(), nearest.similarities.tolist(), strict=True):
            row = tables.by_position(position)
            # A document that was deleted since is passed over.
            if row is not None:
                yield row, similarity

    def _vector(self, values: bytes) -> Vectors:
        """Return float32[d] of bytes that fit the collection.

        Raises `INVALID_VECTOR_LENGTH`, or `INVALID_DATABASE_QUERY` for a zero vector with the cosine metric.
        """
        settings = self._settings.vector
        assert settings is not None
        vector = np.frombuffer(values, "<f4") if len(values) % 4 == 0 else np.empty(0, np.float32)
        if len(vector) != settings.dimension:
            raise DataApiError(
                "INVALID_VECTOR_LENGTH",
                length=len(values) // 4,
                dimension=settings.dimension,
                keyspace=self.keyspace,
                collection=self.entry.name,
            )
        if settings.metric is Metric.COSINE and not vector.any():
            raise DataApiError("INVALID_DATABASE_QUERY", problem="a zero vector has no direction to compare by cosine")
        return np.asarray(vector, np.float32)

    # --- writing ---

    def insert(self, records: Sequence[Record], *, ordered: bool) -> list[InsertOutcome]:
        """Insert documents and return what became of each; ordered stops at the first that cannot be."""
        for record in records:
            self._check_vector(record)
        keyed = [(id_key(decode_object(record.json)["_id"]), record) for record in records]

        def write() -> _Written:
            outcomes: list[InsertOutcome] = []
            index = IndexChanges()
            for key, record in keyed:
                position = self._tables.insert(key, record)
                outcomes.append(InsertOutcome.ALREADY_EXISTS if position is None else InsertOutcome.INSERTED)
                if position is not None and record.vector is not None and record.vector.values:
                    index.vectors[position] = record.vector.values
                if position is None and ordered:
                    break
            outcomes.extend([InsertOutcome.SKIPPED] * (len(keyed) - len(outcomes)))
            return _Written(outcomes, index)

        result: list[InsertOutcome] = self._write(write)
        return result

    def update(self, update: Update) -> Changed:
        """Change documents, or create one; a document that fails stops it, those before it stay changed."""
        for special in update.specials:
            if special.vectorize is not None and special.vectorize.values is not None:
                self._check_values(special.vectorize.values)
            if special.vector is not None:
                self._check_values(special.vector.values)

        def write() -> _Written:
            index = IndexChanges()
            rows, more = self._selected(update.selection, update.limit, update.after)
            result, error = modify.update_rows(self._tables, self._settings, update, rows, index)
            if more and not result.embedding_needed:
                result.next_after = rows[-1].position
            return _Written(result, index, error)

        changed: Changed = self._write(write)
        return changed

    def replace(self, replacement: Replacement) -> Changed:
        """Replace a document, or create it."""
        self._check_vector(replacement.record)

        def write() -> _Written:
            index = IndexChanges()
            rows, _ = self._selected(replacement.selection, 1, 0)
            row = rows[0] if rows else None
            return _Written(modify.replace_row(self._tables, replacement, row, index), index)

        changed: Changed = self._write(write)
        return changed

    def delete(self, selection: Selection, limit: int, projection: Projection | None) -> Deleted:
        """Delete documents; with a projection, return the image of the one that was deleted."""

        def write() -> _Written:
            index = IndexChanges()
            rows, more = self._selected(selection, limit, 0)
            for row in rows:
                self._tables.delete(row)
                index.vectors[row.position] = None
            deleted = Deleted(len(rows), more)
            if projection is not None and rows:
                deleted.image = projection.apply(Found(rows[0].record))
            return _Written(deleted, index)

        deleted: Deleted = self._write(write)
        return deleted

    def truncate(self) -> None:
        """Delete every document."""

        def write() -> _Written:
            self._tables.truncate()
            return _Written(None, IndexChanges(truncated=True))

        self._write(write)

    def _write(self, write: Any) -> Any:
        written: _Written = self._queue.run(write)
        if written.error is not None:
            raise written.error
        return written.result

    def _selected(self, selection: Selection, limit: int, after: int) -> tuple[list[Row], bool]:
        """Return the documents to change, and whether more match; inside the transaction."""
        if selection.order is not None:
            return [row for row, _ in self._ordered(self._tables, selection, limit)], False
        rows = list(self._tables.matching(selection.filter, after=after, limit=limit + 1))
        return rows[:limit], len(rows) > limit

    def _apply_to_index(self, written: Sequence[_Written]) -> None:
        """Bring the vector index up to date with what was committed, in order."""
        if self._index is None:
            return
        for changes in (item.index for item in written):
            if changes.truncated:
                self._index.clear()
            gone = [position for position, values in changes.vectors.items() if not values]
            if gone:
                self._index.remove(gone)
            kept = [(position, values) for position, values in changes.vectors.items() if values]
            if kept:
                joined = np.frombuffer(b"".join(values for _, values in kept), "<f4")
                rows = np.asarray(joined, np.float32).reshape(-1, self._index.dimension)
                self._index.put([position for position, _ in kept], rows)

    def _check_vector(self, record: Record) -> None:
        if record.vector is not None:
            self._check_values(record.vector.values)

    def _check_values(self, values: bytes) -> None:
        if values and self._settings.vector is not None:
            self._vector(values)

    # --- files ---

    def close(self) -> None:
        """Close the files. Readers that are under way keep theirs until they are done."""
        with self._idle_lock:
            idle, self._idle = self._idle, []
        for tables in idle:
            tables.connection.close()
        self._tables.connection.close()

    def remove(self) -> None:
        """Close the files and delete them."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self) -> apsw.Connection:
        path = self._folder / _FILE
        try:
            if path.exists():
                return open_database(path)
            self._folder.mkdir(parents=True, exist_ok=True)
            connection = open_database(path, create=True)
            create_tables(connection)
        except apsw.Error as problem:
            raise DataApiError(
                "CORRUPTED_COLLECTION_SCHEMA",
                keyspace=self.keyspace,
                collection=self.entry.name,
                problem=str(problem),
            ) from problem
        return connection

    @contextmanager
    def _reading(self) -> Iterator[DocumentTables]:
        """Give a connection of one's own, in a transaction that sees one state."""
        with self._idle_lock:
            tables = self._idle.pop() if self._idle else None
        if tables is None:
            tables = DocumentTables(self._open(), self._settings.indexing)
        try:
            with tables.connection:
                yield tables
        finally:
            with self._idle_lock:
                self._idle.append(tables)
