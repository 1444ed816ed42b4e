"""Exact search: every vector compared, by FAISS.

FAISS compares in float32, fast, and gives a few more candidates than are wanted; those are compared again in
float64, which decides. So the answer is that of a comparison in float64, ties by position, whatever the order in
which rows lie in memory.
"""

from typing import NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from services.store.locks import ReadWriteLock
from services.store.vectors.similarity import Metric, Scores, Vectors, exact_scores, prepare, similarity

Positions = npt.NDArray[np.int64]
_Slots = npt.NDArray[np.int32]

_FIRST_CAPACITY = 64
_ABSENT = -1
#: Candidates beyond those wanted. Where their scores are too near to tell, four times as many are taken.
_MARGIN = 16
_WIDER = 4
#: Up to this share of selected rows, copying them together is faster than scanning all with a selector.
_GATHER_SHARE = 0.02


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
        self._lock = ReadWriteLock()
        self._empty()

    def _empty(self) -> None:
        self._count = 0
        self._rows: Vectors = np.empty((_FIRST_CAPACITY, self.dimension), np.float32)
        self._positions: Positions = np.empty(_FIRST_CAPACITY, np.int64)
        # The slot of position p is _slots[p - _base].
        self._base = 0
        self._slots: _Slots = np.empty(0, np.int32)

    def __len__(self) -> int:
        return self._count

    def put(self, positions: Positions, vectors: Vectors) -> None:
        """Add vectors float32[n, d] under their documents' positions int64[n], in place of what is there."""
        if not len(positions):
            return
        prepared = prepare(vectors, self.metric)
        with self._lock.writing():
            self._reach(int(positions.min()), int(positions.max()))
            slots = self._slots[positions - self._base]
            new = slots == _ABSENT
            added = int(new.sum())
            self._make_room(self._count + added)
            slots[new] = np.arange(self._count, self._count + added)
            self._rows[slots] = prepared
            self._positions[slots] = positions
            self._slots[positions - self._base] = slots
            self._count += added

    def remove(self, positions: list[int]) -> None:
        """Remove the vectors under some positions; positions without one are passed over."""
        if not positions:
            return
        with self._lock.writing():
            for position in positions:
                place = position - self._base
                slot = int(self._slots[place]) if 0 <= place < len(self._slots) else _ABSENT
                if slot == _ABSENT:
                    continue
                last = self._count - 1
                moved = int(self._positions[last])
                self._rows[slot] = self._rows[last]
                self._positions[slot] = moved
                self._slots[moved - self._base] = slot
                self._slots[place] = _ABSENT
                self._count = last
            self._give_back_room()

    def clear(self) -> None:
        """Remove every vector."""
        with self._lock.writing():
            self._empty()

    def growth_bytes(self, count: int) -> int:
        """Return how many bytes more adding so many vectors may take, what is copied meanwhile included."""
        row = 4 * self.dimension + 8
        wanted = self._count + count
        capacity = len(self._rows)
        if wanted <= capacity:
            # Room that was never written to is not the process's yet.
            return count * row
        return max(2 * capacity, wanted) * row

    def search(self, query: Vectors, limit: int, selected: Positions | None = None) -> Nearest:
        """Return the `limit` nearest to a query float32[d], among the selected positions (without repetition).

        Selected positions without a vector are passed over.
        """
        prepared = prepare(query.reshape(1, -1), self.metric)
        with self._lock.reading():
            slots = None if selected is None else self._slots_of(selected)
            total = self._count if slots is None else len(slots)
            if not total:
                return Nearest(np.empty(0, np.int64), np.empty(0, np.float32))
            wanted = limit + _MARGIN
            while True:
                candidates = self._scan(prepared, min(wanted, total), slots)
                rows = self._rows[candidates]
                scores = exact_scores(prepared[0], rows, self.metric)
                positions = self._positions[candidates]
                order = np.lexsort((positions, -scores))
                if wanted >= total or self._decided(prepared, rows, scores[order], limit):
                    break
                wanted *= _WIDER
        best = order[:limit]
        return Nearest(positions[best], similarity(scores[best], self.metric))

    def _scan(self, query: Vectors, count: int, slots: _Slots | None) -> npt.NDArray[np.int64]:
        """Return the slots int64[count] of the rows nearest to a query float32[1, d], by float32 comparison."""
        # One query is one thread's work: more threads of OpenMP made it three times slower. The setting is the
        # calling thread's own.
        faiss.omp_set_num_threads(1)
        if slots is None:
            return self._knn(query, self._rows[: self._count], count, None)
        if len(slots) <= _GATHER_SHARE * self._count:
            return np.asarray(slots[self._knn(query, self._rows[slots], count, None)], np.int64)
        chosen = np.zeros(self._count, np.bool_)
        chosen[slots] = True
        bits = np.packbits(chosen, bitorder="little")
        selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        return self._knn(query, self._rows[: self._count], count, selector)

    def _knn(
        self, query: Vectors, rows: Vectors, count: int, selector: faiss.IDSelectorBitmap | None
    ) -> npt.NDArray[np.int64]:
        # The arrays themselves outlive the call, as FAISS's raw pointers to them need.
        scores, found = np.empty(count, np.float32), np.empty(count, np.int64)
        places = (faiss.swig_ptr(query), faiss.swig_ptr(rows), self.dimension, 1, len(rows), count)
        results = (faiss.swig_ptr(scores), faiss.swig_ptr(found))
        if self.metric is Metric.EUCLIDEAN:
            faiss.knn_L2sqr(*places, *results, None, selector)
        else:
            faiss.knn_inner_product(*places, *results, selector)
        return np.asarray(found[found != _ABSENT])

    def _decided(self, query: Vectors, rows: Vectors, scores: Scores, limit: int) -> bool:
        """Tell whether no row that was not scanned can be among the `limit` best, for all that float32 rounds off."""
        if len(scores) <= limit:
            return False
        gap = scores[limit - 1] - scores[-1]
        if self.metric is Metric.EUCLIDEAN:
            size = -scores[-1]
        else:
            size = np.sqrt(exact_scores(query[0], query, Metric.DOT_PRODUCT)[0]) * np.linalg.norm(rows, axis=1).max()
        return bool(gap > 2 * self.dimension * np.finfo(np.float32).eps * size)

    def _slots_of(self, positions: Positions) -> _Slots:
        places = positions - self._base
        slots: _Slots = self._slots[places[(places >= 0) & (places < len(self._slots))]]
        return np.asarray(slots[slots != _ABSENT])

    def _make_room(self, count: int) -> None:
        """Make room for so many rows."""
        capacity = len(self._rows)
        if count > capacity:
            more = max(capacity, count - capacity)
            self._rows = np.concatenate([self._rows, np.empty((more, self.dimension), np.float32)])
            self._positions = np.concatenate([self._positions, np.empty(more, np.int64)])

    def _give_back_room(self) -> None:
        """Keep no more than four times the room that the rows need."""
        room = max(_FIRST_CAPACITY, 2 * self._count)
        if len(self._rows) > 2 * room:
            rows, positions = self._rows[: self._count], self._positions[: self._count]
            self._rows = np.empty((room, self.dimension), np.float32)
            self._positions = np.empty(room, np.int64)
            self._rows[: self._count], self._positions[: self._count] = rows, positions

    def _reach(self, first: int, last: int) -> None:
        """Have slots for the positions from `first` to `last`."""
        if not self._count:
            self._base, self._slots = first, np.empty(0, np.int32)
        if first < self._base:
            front = np.full(self._base - first, _ABSENT, np.int32)
            self._base, self._slots = first, np.concatenate([front, self._slots])
        missing = last - self._base + 1 - len(self._slots)
        if missing > 0:
            room = np.full(max(len(self._slots), missing), _ABSENT, np.int32)
            self._slots = np.concatenate([self._slots, room])
