"""The vector index of a collection that is being opened: what a snapshot has of it, and the documents for the rest."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from services.store.documents import DocumentTables
from services.store.records import VectorSettings
from services.store.settings import IndexSettings
from services.store.vectors.graph import GraphIndex
from services.store.vectors.index import IndexChange, VectorIndex
from services.store.vectors.places import ABSENT, Positions
from services.store.vectors.snapshot import SnapshotError, read_snapshot

#: Vectors that are read at a time.
_PORTION = 4_096

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """An index with every vector of the documents, how many documents there are, and the graph that was on disk.

    `unusable` tells that there is a snapshot which must never be used.
    """

    index: VectorIndex
    documents: int
    graph: GraphIndex | None
    unusable: bool


def recovered_index(
    folder: Path,
    tables: DocumentTables,
    vector: VectorSettings,
    settings: IndexSettings,
    name: str,
    check: Callable[[], None] = lambda: None,
) -> Recovered:
    """Return the index of the documents in `tables`. Raises `apsw.Error`, and what `check` raises between two portions.

    A snapshot spares building the graph. What was written after it is compared exactly until the background has
    added it. One that cannot be used is passed over with a warning, and the graph is built from the documents.
    """
    index = VectorIndex(vector.dimension, vector.metric, settings)
    graph = GraphIndex(vector.dimension, vector.metric, settings)
    unusable = False
    with ThreadPoolExecutor(1, thread_name_prefix="snapshot") as beside:
        # Each takes about as long as the other, and neither holds the interpreter meanwhile.
        reading = beside.submit(read_snapshot, folder, graph, check)
        positions, numbers = tables.written()
    try:
        snapshot = reading.result()
        if snapshot is not None and snapshot[0].sequence > tables.last_write():
            # Numbers that are given again would pass for writes that the snapshot has.
            raise SnapshotError(f"it has write {snapshot[0].sequence}, the documents have {tables.last_write()}")
    except SnapshotError as problem:
        unusable = True
        log.error("the graph on disk cannot be used and is built anew", collection=name, problem=str(problem))
        snapshot = None
    missing, stale = positions, np.empty(0, np.int64)
    if snapshot is not None:
        said, held = snapshot
        index.begin(graph, said.effort, said.sequence)
        unchanged = positions[numbers <= said.sequence]
        living = held[held != ABSENT]
        kept = np.intersect1d(living, unchanged, assume_unique=True)
        missing = np.setdiff1d(positions, kept, assume_unique=True)
        stale = np.setdiff1d(living, unchanged, assume_unique=True)
    _change(index, tables.last_write(), stale, *tables.vectors_of(missing[:0], vector.dimension))
    for start in range(0, len(missing), _PORTION):
        check()
        _change(index, 0, missing[:0], *tables.vectors_of(missing[start : start + _PORTION], vector.dimension))
    return Recovered(index, len(positions), None if snapshot is None else graph, unusable)


def _change(index: VectorIndex, sequence: int, removed: Positions, positions: Positions, vectors: object) -> None:
    index.change(IndexChange(sequence, False, removed, positions, np.asarray(vectors, np.float32)))
