"""A collection of vectors as a dictionary, beside an index that must agree with it, and what to fill it with."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from services.store.settings import IndexSettings
from services.store.vectors.builder import IndexBuilder
from services.store.vectors.graph import GraphIndex
from services.store.vectors.index import IndexChange, Nearest, VectorIndex
from services.store.vectors.places import Positions
from services.store.vectors.selection import Selected
from services.store.vectors.similarity import Metric, Vectors
from services.store.vectors.snapshot import read_snapshot


def clustered(count: int, dimension: int) -> Vectors:
    """Return float32[count, dimension] vectors around some centres, always the same ones first."""
    random = np.random.default_rng(1)
    centres = random.standard_normal((40, dimension))
    return np.asarray(
        [centres[at % 40] + 0.5 * random.standard_normal(dimension) for at in range(count)], np.float32
    ).reshape(-1, dimension)


def changed(
    positions: Positions,
    vectors: Vectors,
    *,
    removed: Positions | None = None,
    sequence: int = 0,
    truncated: bool = False,
) -> IndexChange:
    """Return a change of an index."""
    gone = np.empty(0, np.int64) if removed is None else removed
    return IndexChange(sequence, truncated, gone, positions, vectors)


class Model:
    """What was written, the index that was told, and the background's work on it."""

    def __init__(self, dimension: int, metric: Metric, settings: IndexSettings) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)
        self.dimension, self.metric, self.settings = dimension, metric, settings
        self.vectors: dict[int, Any] = {}
        self.written: dict[int, int] = {}
        self.sequence = 0
        self.refuse_memory = False
        self._open(VectorIndex(dimension, metric, settings))

    def _open(self, index: VectorIndex) -> None:
        self.index = index
        self.builder = IndexBuilder(index, self.folder, self.stored, self._reserve, "k.c")

    def change(self, vectors: Mapping[int, Any], removed: set[int] | frozenset[int] = frozenset()) -> None:
        """Put and remove vectors."""
        self.sequence += 1
        rows = np.array(list(vectors.values()), np.float32).reshape(-1, self.dimension)
        gone = np.array(sorted(removed), np.int64)
        self.vectors.update(vectors)
        for position in removed:
            self.vectors.pop(position, None)
        self.written.update(dict.fromkeys(vectors, self.sequence))
        self.index.change(changed(np.array(list(vectors), np.int64), rows, removed=gone, sequence=self.sequence))

    def truncate(self) -> None:
        """Remove everything."""
        self.sequence += 1
        self.vectors.clear()
        none = np.empty((0, self.dimension), np.float32)
        self.index.change(changed(np.empty(0, np.int64), none, sequence=self.sequence, truncated=True))

    def search(self, queries: Vectors, limit: int, selected: Positions | None = None) -> list[Nearest]:
        """Search the index."""
        return self.index.search(queries, limit, self.stored, None if selected is None else Selected(selected))

    def stored(self, positions: Positions) -> tuple[Positions, Vectors]:
        """Return vectors as the documents have them."""
        held = [at for at in positions.tolist() if at in self.vectors]
        rows = np.array([self.vectors[at] for at in held], np.float32)
        return np.array(held, np.int64), rows.reshape(-1, self.dimension)

    def reopen(self) -> None:
        """Have the index as it is after a start: from a snapshot, if there is one, and the vectors written since."""
        self.builder.close()
        index = VectorIndex(self.dimension, self.metric, self.settings)
        graph = GraphIndex(self.dimension, self.metric, self.settings)
        found = read_snapshot(self.folder, graph)
        since, held = (0, np.empty(0, np.int64)) if found is None else (found[0].sequence, found[1])
        if found is not None:
            index.begin(graph, found[0].effort, since)
        kept = {at for at in held.tolist() if at in self.vectors and self.written[at] <= since}
        stale = np.array(sorted(set(held.tolist()) - kept - {-1}), np.int64)
        missing, rows = self.stored(np.array(sorted(set(self.vectors) - kept), np.int64))
        index.change(changed(missing, rows, removed=stale, sequence=self.sequence))
        self._open(index)
        if found is not None:
            self.builder.restored(graph)

    def close(self) -> None:
        """Remove the folder."""
        self._temporary.cleanup()

    @contextmanager
    def _reserve(self, count: int) -> Iterator[None]:
        if self.refuse_memory:
            raise MemoryError
        yield
