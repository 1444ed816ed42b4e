"""One collection: the read path and the write path over its tables and its vector index."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Generic, TypeVar

import apsw
import numpy as np
import structlog

from services.documents.codec import JsonError
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
from services.store.connections import FILE_NAME, ClosedError, Connections
from services.store.documents import DocumentTables, Row
from services.store.faults import describe
from services.store.filter_index import FilterIndex, PostingChanges
from services.store.filters import EVERYTHING, Filter
from services.store.memory import UNLIMITED, MemoryBudget
from services.store.metrics import StoreMetrics
from services.store.migrations import FormatError
from services.store.ordering import FieldOrder
from services.store.postings import IndexedRecord, indexed_record
from services.store.projection import Projection
from services.store.records import Found, Record
from services.store.recovery import recovered_index
from services.store.settings import Settings
from services.store.vectors.background import Background
from services.store.vectors.builder import IndexBuilder
from services.store.vectors.index import Nearest, VectorIndex
from services.store.vectors.places import Positions
from services.store.vectors.search_queue import SearchQueue
from services.store.vectors.selection import Copies, Selected, Selections
from services.store.vectors.similarity import Metric, Vectors
from services.store.vectors.statistics import IndexStatistics
from services.store.write_queue import QueueClosedError, WriteQueue
from services.store.writer import Writer

#: How long a compaction waits for a graph to be built anew; beyond, that goes on in the background.
_COMPACTION_SECONDS = 600.0
#: Part of the memory for what filters found that is for lists of positions, the rest being for bitmaps.
_SELECTIONS_PART = 4

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
_Near = tuple[Row, float | None]


@dataclass(frozen=True, slots=True)
class NearestSearch:
    """A search for documents of a filter by their nearness to a vector: for `limit` of them past the first `skip`."""

    filter: Filter
    order: VectorOrder
    projection: Projection
    skip: int
    limit: int

    @property
    def wanted(self) -> int:
        """How many documents have to be found."""
        return self.skip + self.limit


@dataclass(slots=True)
class _Written(Generic[Result]):
    """A write's result, what it means for the indexes, and an error to raise once what it did is durable."""

    result: Result
    index: IndexChanges = field(default_factory=IndexChanges)
    error: DataApiError | None = None
    sequence: int = 0
    postings: PostingChanges = field(default_factory=lambda: PostingChanges(0))


class Collection:
    """A collection that is open. Safe to use from many threads: one writes at a time, readers never wait.

    After `remove`, every call raises `COLLECTION_CHANGED`. `check` is called while the collection is being opened, and
    what it raises gives that up.
    """

    def __init__(
        self,
        folder: FilePath,
        keyspace: str,
        entry: CollectionEntry,
        settings: Settings,
        background: Background,
        *,
        read_only: bool = False,
        budget: MemoryBudget = UNLIMITED,
        metrics: StoreMetrics | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.entry = entry
        self.keyspace = keyspace
        self._folder = folder
        self._settings = entry.settings
        self._index_settings = settings.index_of(keyspace, entry.name)
        self._background = background
        self._budget = budget
        self._metrics = metrics or StoreMetrics()
        self._index: VectorIndex | None = None
        self._searches = SearchQueue(self.find_nearest)
        self._builder: IndexBuilder | None = None
        lists = settings.filters.cache_bytes // _SELECTIONS_PART
        self._filter_index = FilterIndex(settings.filters.cache_bytes - lists)
        self._selections = Selections(lists, Copies(settings.filters.vectors_bytes, budget.would_fit))
        try:
            self._files = Connections(folder, self._settings.indexing, self._filter_index, read_only=read_only)
            try:
                self._load(check, read_only=read_only)
            except BaseException:
                self._files.close()
                raise
        except (apsw.Error, OSError, ValueError, FormatError) as problem:
            raise self._cannot_open(problem) from problem
        self._tables = self._files.writer
        self._queue = WriteQueue(self._files.file, self._committed, self._tables.forget_paths, self._metrics.committed)
        self._wake_background()

    def _load(self, check: Callable[[], None], *, read_only: bool) -> None:
        """Read what is kept in memory. Raises `UNAVAILABLE_DATABASE` where it does not fit, and what `check` raises."""
        tables, vector = self._files.writer, self._settings.vector
        if vector is None:
            self._documents = tables.count(EVERYTHING, -1)
            return
        name = f"{self.keyspace}.{self.entry.name}"
        # The index grows by doubling, so it may come to have twice what it needs.
        size = 2 * 4 * vector.dimension * tables.count(EVERYTHING, -1)
        with self._budget.reserve(size, f"opening {name}", reading=True):
            opened = recovered_index(self._folder, tables, vector, self._index_settings, name, check)
        self._documents, self._index = opened.documents, opened.index
        if not read_only:
            self._builder = IndexBuilder(opened.index, self._folder, self._stored_vectors, self._reserve, name)
            if opened.graph is not None:
                self._builder.restored(opened.graph)
            elif opened.unusable:
                self._builder.remove_snapshot()

    @contextmanager
    def _reserve(self, size: int) -> Iterator[None]:
        try:
            with self._budget.reserve(size, "the graph"):
                yield
        except DataApiError as problem:
            raise MemoryError(problem.message) from problem

    def _cannot_open(self, problem: Exception) -> DataApiError:
        if isinstance(problem, ValueError):  # vectors that are not of the collection's dimension
            problem = apsw.CorruptError(str(problem))
        said = str(problem) if isinstance(problem, FormatError) else describe(problem, self._folder / FILE_NAME)
        return DataApiError(
            "CORRUPTED_COLLECTION_SCHEMA", keyspace=self.keyspace, collection=self.entry.name, problem=said
        )

    # --- reading ---

    def find(
        self, selection: Selection, projection: Projection, *, skip: int, limit: int, after: int
    ) -> tuple[list[Found], int | None]:
        """Return documents as projected, and the position to go on after where more follow in storage order."""
        order = selection.order
        if isinstance(order, VectorOrder):
            search = NearestSearch(selection.filter, order, projection, skip, limit)
            return self._searches.run(search, id(search.filter)), None

        def read(tables: DocumentTables) -> tuple[list[Found], int | None]:
            if order is None:
                rows = list(tables.matching(selection.filter, after=after, limit=limit + 1))
                more = rows[limit - 1].position if len(rows) > limit else None
                return [projection.apply(Found(row.record)) for row in rows[:limit]], more
            return _projected(self._ordered(tables, selection, skip, limit), projection), None

        return self._read(read)

    def find_nearest(self, searches: Sequence[NearestSearch]) -> list[list[Found]]:
        """Return what each of some searches with the same filter finds, as projected; they share what they can."""
        self._metrics.searched(len(searches))

        def read(tables: DocumentTables) -> list[list[Found]]:
            selected = self._narrowed(tables, searches[0].filter)
            pages: list[list[Found]] = [[]] * len(searches)
            by_wanted: dict[int, list[int]] = defaultdict(list)
            for number, search in enumerate(searches):
                by_wanted[search.wanted].append(number)
            for wanted, numbers in by_wanted.items():
                alike = [searches[number] for number in numbers]
                queries = self._vectors([search.order.query for search in alike])
                vectors = any(search.projection.shows_vector for search in alike)
                found = self._nearest(tables, queries, wanted, selected, vectors=vectors)
                for number, search, rows in zip(numbers, alike, found, strict=True):
                    pages[number] = _projected(rows[search.skip :], search.projection)
            return pages

        return self._read(read)

    def count(self, filter_: Filter, limit: int) -> tuple[int, bool]:
        """Return how many documents match, up to a limit (0: all), and whether there are more."""
        count = self._read(lambda tables: tables.count(filter_, limit + 1 if limit else -1))
        return (limit, True) if limit and count > limit else (count, False)

    def totals(self) -> tuple[int, int]:
        """Return how many documents there are, and how many of them searches by vector find; from memory."""
        return self._documents, 0 if self._index is None else len(self._index)

    def explain(self, filter_: Filter) -> list[str]:
        """Return the plan for finding the documents of a filter, a line each."""
        return self._read(lambda tables: tables.explain(filter_))

    def _read(self, read: Callable[[DocumentTables], Result]) -> Result:
        try:
            with self._files.reading() as tables:
                return read(tables)
        except ClosedError:
            raise DataApiError("COLLECTION_CHANGED", collection=self.entry.name) from None

    def _ordered(self, tables: DocumentTables, selection: Selection, skip: int, limit: int) -> Sequence[_Near]:
        order = selection.order
        if isinstance(order, VectorOrder):
            query = self._vectors([order.query])
            # Nothing is remembered of what a write under way sees, which may never be committed.
            narrowed = selection.filter != EVERYTHING
            selected = Selected(tables.positions_matching(selection.filter)) if narrowed else None
            return self._nearest(tables, query, skip + limit, selected)[0][skip:]
        assert isinstance(order, FieldOrder)
        most = order.max_candidates
        if most and tables.count(selection.filter, most) >= most:
            raise DataApiError("OVERLOADED_SORT_ROW_LIMIT", maxLimit=most)
        rows = tables.ordered(selection.filter, order.fields, skip=skip, limit=limit)
        return [(row, None) for row in rows]

    def _narrowed(self, tables: DocumentTables, filter_: Filter) -> Selected | None:
        """Return the positions that searches are narrowed to; None for all."""
        if filter_ == EVERYTHING:
            return None
        return self._selections.get(filter_, tables.last_write(), lambda: tables.positions_matching(filter_))

    def _nearest(
        self,
        tables: DocumentTables,
        queries: Vectors,
        limit: int,
        selected: Selected | None = None,
        *,
        vectors: bool = True,
    ) -> list[list[_Near]]:
        """Return the documents nearest to each query float32[q, d], among those of the selected positions."""
        found = self._search(tables, queries, limit, selected)
        rows = _rows(tables, found, vectors)
        lost = max(len(nearest.positions) - len(near) for nearest, near in zip(found, rows, strict=True))
        if lost:
            # Written since this reader began, or deleted: as many more are looked for.
            rows = _rows(tables, self._search(tables, queries, limit + lost, selected), vectors)
        return [near[:limit] for near in rows]

    def _search(
        self, tables: DocumentTables, queries: Vectors, limit: int, selected: Selected | None = None
    ) -> list[Nearest]:
        assert self._index is not None
        return self._index.search(
            queries, limit, lambda positions: tables.vectors_of(positions, queries.shape[1]), selected
        )

    def _vectors(self, values: Sequence[bytes]) -> Vectors:
        """Return float32[n, d] of bytes that fit the collection.

        Raises `INVALID_VECTOR_LENGTH`, or `INVALID_DATABASE_QUERY` for a zero vector with the cosine metric.
        """
        settings = self._settings.vector
        if settings is None:
            raise DataApiError("VECTOR_SEARCH_NOT_SUPPORTED", keyspace=self.keyspace, collection=self.entry.name)
        for one in values:
            if len(one) != 4 * settings.dimension:
                raise DataApiError(
                    "INVALID_VECTOR_LENGTH",
                    length=len(one) // 4,
                    dimension=settings.dimension,
                    keyspace=self.keyspace,
                    collection=self.entry.name,
                )
        vectors = np.frombuffer(b"".join(values), "<f4").reshape(len(values), -1)
        if settings.metric is Metric.COSINE and not all(vector.any() for vector in vectors):
            raise DataApiError("INVALID_DATABASE_QUERY", problem="a zero vector has no direction to compare by cosine")
        return np.asarray(vectors, np.float32)

    # --- writing ---

    def insert(self, records: Sequence[Record], *, ordered: bool) -> list[InsertOutcome]:
        """Insert documents and return what became of each; ordered stops at the first that cannot be."""
        for record in records:
            self._check_vector(record)
        with self._growing(len(records)):
            return self._insert(records, ordered=ordered)

    def _insert(self, records: Sequence[Record], *, ordered: bool) -> list[InsertOutcome]:
        # Parsed here, not while others wait for the transaction to end.
        documents = [self._indexed(record) for record in records]

        def write() -> _Written[list[InsertOutcome]]:
            written = _Written[list[InsertOutcome]]([])
            for document in documents:
                position = self._tables.insert(document)
                if position is not None:
                    written.index.inserted(position, document.record)
                    written.result.append(InsertOutcome.INSERTED)
                    continue
                written.result.append(InsertOutcome.ALREADY_EXISTS)
                if ordered:
                    break
            skipped = len(documents) - len(written.result)
            written.result.extend([InsertOutcome.SKIPPED] * skipped)
            return written

        return self._write(write)

    def update(self, update: Update) -> Changed:
        """Change documents, or create one; a document that fails stops it, those before it stay changed."""
        for special in update.specials:
            if special.vectorize is not None and special.vectorize.values is not None:
                self._check_values(special.vectorize.values)
            if special.vector is not None:
                self._check_values(special.vector.values)

        def write() -> _Written[Changed]:
            index = IndexChanges()
            rows, more = self._selected(update.selection, update.limit, update.after)
            result, error = modify.update_rows(self._tables, self._settings, update, rows, index)
            if more and not result.embedding_needed:
                result.next_after = rows[-1].position
            return _Written(result, index, error)

        with self._growing(max(1, update.limit)):
            return self._write(write, update.selection)

    def replace(self, replacement: Replacement) -> Changed:
        """Replace a document, or create it."""
        self._check_vector(replacement.record)

        def write() -> _Written[Changed]:
            index = IndexChanges()
            rows, _ = self._selected(replacement.selection, 1, 0)
            row = rows[0] if rows else None
            return _Written(modify.replace_row(self._tables, self._settings, replacement, row, index), index)

        with self._growing(1):
            return self._write(write, replacement.selection)

    def delete(self, selection: Selection, limit: int, projection: Projection | None) -> Deleted:
        """Delete documents; with a projection, return the image of the one that was deleted."""

        def write() -> _Written[Deleted]:
            index = IndexChanges()
            rows, more = self._selected(selection, limit, 0)
            for row in rows:
                self._tables.delete(row.position)
                index.deleted(row.position, row.record)
            deleted = Deleted(len(rows), more)
            if projection is not None and rows:
                deleted.image = projection.apply(Found(rows[0].record))
            return _Written(deleted, index)

        return self._write(write, selection)

    def truncate(self) -> None:
        """Delete every document."""

        def write() -> _Written[None]:
            self._tables.truncate()
            return _Written(None, IndexChanges(truncated=True))

        self._write(write)

    def _growing(self, vectors: int) -> AbstractContextManager[None]:
        """Reserve what so many more vectors take in the index. Raises `FAILED_WRITE_REQUEST` where it is not there."""
        size = 0 if self._index is None else self._index.growth_bytes(vectors)
        # The index makes room once for all that are written at a time.
        return self._budget.reserve(size, "the index", shared=self)

    def _write(self, write: Callable[[], _Written[Result]], selection: Selection | None = None) -> Result:
        def numbered() -> _Written[Result]:
            sequence = self._tables.begin_write()
            written = write()
            written.sequence = sequence
            written.postings = self._tables.changes
            return written

        by_vector = selection is not None and isinstance(selection.order, VectorOrder)
        try:
            # What is to be changed by nearness is looked up in the index, which knows only what is committed.
            written = self._queue.run(numbered, first=by_vector)
        except QueueClosedError:
            raise DataApiError("COLLECTION_CHANGED", collection=self.entry.name) from None
        if written.error is not None:
            raise written.error
        return written.result

    def _selected(self, selection: Selection, limit: int, after: int) -> tuple[list[Row], bool]:
        """Return the documents to change, and whether more match; inside the transaction."""
        if selection.order is not None:
            return [row for row, _ in self._ordered(self._tables, selection, 0, limit)], False
        rows = list(self._tables.matching(selection.filter, after=after, limit=limit + 1))
        return rows[:limit], len(rows) > limit

    def _committed(self, written: Sequence[_Written[object]]) -> None:
        """Bring counts and the indexes in memory up to date with what was committed, in order."""
        for item in written:
            self._filter_index.apply(item.postings)
            if item.index.truncated:
                self._documents = 0
            self._documents += item.index.documents
            if self._index is not None:
                self._index.change(item.index.of_vectors(self._index.dimension, item.sequence))
        self._wake_background()

    def _wake_background(self) -> None:
        if self._builder is not None and self._builder.due():
            self._background.wake(self._builder)

    def _stored_vectors(self, positions: Positions) -> tuple[Positions, Vectors]:
        assert self._settings.vector is not None
        with self._files.reading() as tables:
            return tables.vectors_of(positions, self._settings.vector.dimension)

    def _indexed(self, record: Record) -> IndexedRecord:
        try:
            return indexed_record(record, self._settings.indexing)
        except JsonError as problem:
            raise DataApiError("REQUEST_STRUCTURE_MISMATCH", problem=problem) from problem

    def _check_vector(self, record: Record) -> None:
        if record.vector is not None:
            self._check_values(record.vector.values)

    def _check_values(self, values: bytes) -> None:
        if values and self._settings.vector is not None:
            self._vectors([values])

    # --- files ---

    @contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """Give a connection that goes on seeing the collection as it is now."""
        try:
            with self._files.reading() as tables:
                tables.connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
                yield tables.connection
        except ClosedError:
            raise DataApiError("COLLECTION_CHANGED", collection=self.entry.name) from None

    @contextmanager
    def writes_held(self) -> Iterator[Writer]:
        """Hold all writes, those answered before being committed, and give the file they go to."""
        try:
            with self._queue.held() as file:
                yield file
        except QueueClosedError:
            raise DataApiError("COLLECTION_CHANGED", collection=self.entry.name) from None

    def index_statistics(self) -> IndexStatistics | None:
        """Return figures about the vector index; None for a collection without vectors."""
        return None if self._index is None else self._index.statistics()

    def write_refusal(self) -> str:
        """Return why the collection takes no writes now; empty where it does."""
        return self._files.file.refusal

    def filter_cache_bytes(self) -> int:
        """Return how many bytes what filters found lately takes."""
        return self._filter_index.size + self._selections.size

    def compact_index(self) -> None:
        """Give memory back that the vector index does not need; a graph with tombstones is built anew."""
        if self._index is not None and self._builder is not None:
            self._index.compact()
            self._builder.ask_for_rebuild()
            self._wake_background()
            if not self._background.settle(self._builder, _COMPACTION_SECONDS):
                log.warning("the graph is still being built anew", collection=self.entry.name)

    def close(self) -> None:
        """Wait for the write under way and close the files; readers under way keep theirs until they are done."""
        if self._builder is not None:
            self._background.forget(self._builder)
        self._queue.close()
        if self._builder is not None:
            self._builder.close()
        self._files.close_readers()

    def remove(self) -> None:
        """Close the files and delete them."""
        if self._builder is not None:
            self._background.forget(self._builder)
        self._queue.close()
        self._files.close_readers()
        shutil.rmtree(self._folder, ignore_errors=True)


def _rows(tables: DocumentTables, found: Sequence[Nearest], vectors: bool) -> list[list[_Near]]:
    """Return what each query found, without those documents that are not there for this reader."""
    rows = tables.held(np.concatenate([nearest.positions for nearest in found]), vectors=vectors)
    return [[(rows[position], near) for position, near in _pairs(nearest) if position in rows] for nearest in found]


def _pairs(nearest: Nearest) -> Iterator[tuple[int, float]]:
    return zip(nearest.positions.tolist(), nearest.similarities.tolist(), strict=True)


def _projected(rows: Sequence[_Near], projection: Projection) -> list[Found]:
    return [projection.apply(Found(row.record, similarity)) for row, similarity in rows]
