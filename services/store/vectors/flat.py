"""Exact search: every vector compared, by FAISS."""

from collections.abc import Iterable
from typing import NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from services.store.locks import ReadWriteLock
from services.store.vectors.similarity import Metric, Vectors, prepare, similarity

Positions = npt.NDArray[np.int64]

_FIRST_CAPACITY = 1024
_ABSENT = -1


class Nearest(NamedTuple):
    """What a search found, nearest first: positions int64[k] and similarities float32[k]."""

    positions: Positions
    similarities: npt.NDArray[np.float32]


class FlatIndex:
    """The vectors of a collection, each under its document's position.

    Rows lie densely in one float32[capacity, d]; a removed row is overwritten by the last one. Searches share the
    index, changes have it alone.
    """

    def __init__(self, dimension: int, metric: Metric) -> None:
        self.dimension = dimension
        self.metric = metric
        self._rows: Vectors = np.empty((_FIRST_CAPACITY, dimension), np.float32)
        self._positions: Positions = np.empty(_FIRST_CAPACITY, np.int64)
        self._slots: Positions = np.full(_FIRST_CAPACITY, _ABSENT, np.int64)
        self._count = 0
        self._lock = ReadWriteLock()

    def __len__(self) -> int:
        return self._count

    def put(self, positions: Iterable[int], vectors: Vectors) -> None:
        """Add vectors float32[n, d] under their documents' positions, in place of what is there."""
        prepared = prepare(vectors, self.metric)
        with self._lock.writing():
            for position, row in zip(positions, prepared, strict=True):
                self._reach(position)
                slot = int(self._slots[position])
                if slot == _ABSENT:
                    slot = self._append(position)
                self._rows[slot] = row

    def remove(self, positions: Iterable[int]) -> None:
        """Remove the vectors under some positions; positions without one are passed over."""
        with self._lock.writing():
            for position in positions:
                if position >= len(self._slots) or self._slots[position] == _ABSENT:
                    continue
                slot, last = int(self._slots[position]), self._count - 1
                moved = int(self._positions[last])
                self._rows[slot] = self._rows[last]
                self._positions[slot] = moved
                self._slots[moved] = slot
                self._slots[position] = _ABSENT
                self._count = last

    def clear(self) -> None:
        """Remove every vector."""
        with self._lock.writing():
            self._slots.fill(_ABSENT)
            self._count = 0

    def search(self, query: Vectors, limit: int, selected: Positions | None = None) -> Nearest:
        """Return the `limit` nearest to a query float32[d], among the selected positions if given.

        Ties go by position. Selected positions without a vector are passed over.
        """
        prepared = prepare(query.reshape(1, -1), self.metric)
        with self._lock.reading():
            if selected is None:
                rows, positions = self._rows[: self._count], self._positions[: self._count]
            else:
                known = selected[selected < len(self._slots)]
                slots = self._slots[known]
                found = slots != _ABSENT
                rows, positions = self._rows[slots[found]], known[found]
            if not len(rows):
                return Nearest(np.empty(0, np.int64), np.empty(0, np.float32))
            kind = faiss.METRIC_L2 if self.metric is Metric.EUCLIDEAN else faiss.METRIC_INNER_PRODUCT
            scores, indexes = faiss.knn(prepared, rows, min(limit, len(rows)), metric=kind)
            nearest = positions[indexes[0]]
        similarities = similarity(scores[0], self.metric)
        order = np.lexsort((nearest, -similarities))
        return Nearest(nearest[order], similarities[order])

    def _append(self, position: int) -> int:
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
            self._positions = np.concatenate([self._positions, np.empty_like(self._positions)])
        slot = self._count
        self._positions[slot] = position
        self._slots[position] = slot
        self._count += 1
        return slot

    def _reach(self, position: int) -> None:
        """Make room for a position among the slots."""
        if position >= len(self._slots):
            room = np.full(max(len(self._slots), position + 1 - len(self._slots)), _ABSENT, np.int64)
            self._slots = np.concatenate([self._slots, room])
