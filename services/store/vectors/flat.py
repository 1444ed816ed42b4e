"""Exact search: every vector compared, by FAISS.

FAISS compares in float32, fast, and gives a few more candidates than are wanted; those are compared again in
float64, which decides. So the answer is that of a comparison in float64, ties by position, whatever the order in
which rows lie in memory.
"""

import os
from typing import NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from services.store.vectors.places import ABSENT, Places, Positions, Slots
from services.store.vectors.selection import Selected
from services.store.vectors.similarity import Metric, Scores, Vectors, exact_scores

#: Threads that one call to FAISS may use: the processors this process may run on.
CORES = len(os.sched_getaffinity(0))
#: Queries for which another thread is worth waking.
_QUERIES_OF_A_THREAD = 8
_FIRST_CAPACITY = 64
#: Candidates beyond those wanted. Where their scores are too near to tell, four times as many are taken.
MARGIN = 16
_WIDER = 4
#: Products of numbers, at most, when queries are compared with a block of rows: OpenBLAS wakes no thread for so few.
_BLOCK_PRODUCTS = 1 << 18


class Ranked(NamedTuple):
    """Candidates, nearest first, ties by position: positions int64[k] and scores float64[k]."""

    positions: Positions
    scores: Scores

    def first(self, limit: int) -> "Ranked":
        """Return the nearest ones."""
        return Ranked(self.positions[:limit], self.scores[:limit])


NONE_RANKED = Ranked(np.empty(0, np.int64), np.empty(0, np.float64))


def ranked(positions: Positions, scores: Scores) -> Ranked:
    """Return candidates in order."""
    order = np.lexsort((positions, -scores))
    return Ranked(positions[order], scores[order])


def ranked_each(positions: Positions, scores: Scores) -> list[Ranked]:
    """Return the candidates int64[q, k] of each query, with scores float64[q, k], in order."""
    if len(scores) == 1:
        return [ranked(positions[0], scores[0])]
    order = np.lexsort((positions, -scores))
    query = np.arange(len(order))[:, np.newaxis]
    return list(map(Ranked, positions[query, order], scores[query, order]))


class FlatIndex:
    """Vectors, prepared for their metric, each under its document's position. For one thread at a time.

    Rows lie densely in one float32[capacity, d]; a removed row is overwritten by the last one.
    """

    def __init__(self, dimension: int, metric: Metric) -> None:
        self.dimension = dimension
        self.metric = metric
        self.clear()

    def clear(self) -> None:
        """Remove every vector."""
        self._rows: Vectors = np.empty((_FIRST_CAPACITY, self.dimension), np.float32)
        self._places = Places()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def memory_bytes(self) -> int:
        """Return the bytes of the vectors, with room kept for more, and of their places."""
        return self._rows.nbytes + self._places.memory_bytes

    @property
    def positions(self) -> Positions:
        """Return the position int64[n] of each row; a view."""
        return self._places.positions

    @property
    def rows(self) -> Vectors:
        """Return the rows float32[n, d]; a view."""
        return self._rows[: len(self)]

    def put(self, positions: Positions, prepared: Vectors) -> None:
        """Add prepared vectors float32[n, d] under positions int64[n], in place of what is there."""
        slots = self._places.slots_of(positions)
        new = slots == ABSENT
        slots[new] = self._places.take(positions[new])
        if len(self) > len(self._rows):
            room = np.empty((max(len(self._rows), len(self) - len(self._rows)), self.dimension), np.float32)
            self._rows = np.concatenate([self._rows, room])
        self._rows[slots] = prepared

    def remove(self, positions: Positions) -> None:
        """Remove the vectors under some positions, none repeated; positions without one are passed over."""
        slots = self._places.slots_of(positions)
        filled, moved = self._places.close_up(slots[slots != ABSENT])
        self._rows[filled] = self._rows[moved]
        if len(self) < len(self._rows) // 4:
            self.compact()

    def growth_bytes(self, count: int) -> int:
        """Return how many bytes more adding so many vectors may take, what is copied meanwhile included."""
        row, wanted = 4 * self.dimension + 8, len(self) + count
        # Room that was never written to is not the process's yet.
        return (count if wanted <= len(self._rows) else max(2 * len(self._rows), wanted)) * row

    def to_front(self, count: int, random: np.random.Generator) -> None:
        """Exchange the first rows for others taken at random."""
        for slot, other in enumerate(random.choice(len(self), min(count, len(self)), replace=False).tolist()):
            self._rows[[slot, other]] = self._rows[[other, slot]]
            self._places.exchange(slot, other)

    def compact(self) -> None:
        """Give back the room kept for more."""
        self._rows = self._rows[: max(len(self), _FIRST_CAPACITY)].copy()
        self._places = Places(self._places.positions)

    def search(self, queries: Vectors, limit: int, selected: Selected | None = None) -> list[Ranked]:
        """Return the `limit` nearest to each prepared query float32[q, d], among the selected positions.

        Selected positions without a vector are passed over.
        """
        slots = None
        if selected is not None and len(self):
            slots = self._selected_slots(selected)
        total = len(self) if slots is None else len(slots)
        if not total:
            return [NONE_RANKED] * len(queries)
        wanted = limit + MARGIN
        scanned = self._scan(queries, min(wanted, total), slots)
        return [
            self._ranked(query, wanted, limit, candidates, slots, total)
            for query, candidates in zip(queries, scanned, strict=True)
        ]

    def _selected_slots(self, selected: Selected) -> Slots:
        # By the shorter of both: most often few vectors wait here while much of the collection is selected.
        if len(selected) > len(self):
            return np.flatnonzero(selected.holds(self.positions)).astype(np.int32)
        slots = self._places.slots_of(selected.positions)
        return np.asarray(slots[slots != ABSENT])

    def _ranked(
        self,
        query: Vectors,
        wanted: int,
        limit: int,
        candidates: npt.NDArray[np.int64],
        slots: Slots | None,
        total: int,
    ) -> Ranked:
        while True:
            rows = self._rows[candidates]
            found = ranked(self.positions[candidates], exact_scores(query, rows, self.metric))
            if wanted >= total or self._decided(query, rows, found.scores, limit):
                return found.first(limit)
            wanted *= _WIDER
            (candidates,) = self._scan(query.reshape(1, -1), min(wanted, total), slots)

    def _scan(self, queries: Vectors, count: int, slots: Slots | None) -> list[npt.NDArray[np.int64]]:
        """Return the slots int64[count] of the rows nearest to each query float32[q, d], by float32 comparison."""
        if slots is None:
            return nearest_rows(queries, self.rows, count, self.metric)
        return nearest_of(queries, self._rows, slots, count, self.metric)

    def _decided(self, query: Vectors, rows: Vectors, scores: Scores, limit: int) -> bool:
        """Tell whether no row that was not scanned can be among the `limit` best, for all that float32 rounds off."""
        if len(scores) <= limit:
            return False
        gap = scores[limit - 1] - scores[-1]
        if self.metric is Metric.EUCLIDEAN:
            size = -scores[-1]
        else:
            lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
            size = np.linalg.norm(query.astype(np.float64)) * lengths.max()
        return bool(gap > 2 * self.dimension * np.finfo(np.float32).eps * size)


def threads_for(queries: int) -> int:
    """Return how many threads a call to FAISS with so many queries should use; a setting of the calling thread's own.

    More than one made one query three times slower, and waking another costs as much as some queries.
    """
    return max(1, min(CORES, queries // _QUERIES_OF_A_THREAD))


def nearest_rows(queries: Vectors, rows: Vectors, count: int, metric: Metric) -> list[npt.NDArray[np.int64]]:
    """Return the numbers int64[<= count] of the rows float32[n, d] nearest to each query float32[q, d]."""
    queries = np.ascontiguousarray(queries)
    scores, found = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
    # The arrays themselves outlive the call, as FAISS's raw pointers to them need.
    places = (faiss.swig_ptr(queries), faiss.swig_ptr(rows), rows.shape[1], len(queries), len(rows), count)
    results = (faiss.swig_ptr(scores), faiss.swig_ptr(found))
    faiss.omp_set_num_threads(threads_for(len(queries)))
    if metric is Metric.EUCLIDEAN:
        faiss.knn_L2sqr(*places, *results)
    else:
        faiss.knn_inner_product(*places, *results)
    return [numbers[numbers != ABSENT] for numbers in found]


def nearest_of(
    queries: Vectors, rows: Vectors, slots: Slots, count: int, metric: Metric
) -> list[npt.NDArray[np.int64]]:
    """Return the slots int64[min(count, n)], in any order, whose rows are nearest to each query float32[q, d].

    For one query rows are compared where they lie, because copying the selected ones together takes twice as long. For
    several, blocks of them are copied, so that memory is read once.
    """
    chosen = slots.astype(np.int64)
    if count >= len(chosen):
        return [chosen] * len(queries)
    queries = np.ascontiguousarray(queries)
    distances = np.empty((len(queries), len(chosen)), np.float32)
    if len(queries) == 1:
        compare = getattr(faiss, "fvec_L2sqr_by_idx" if metric is Metric.EUCLIDEAN else "fvec_inner_products_by_idx")
        places = (faiss.swig_ptr(distances), faiss.swig_ptr(queries), faiss.swig_ptr(rows), faiss.swig_ptr(chosen))
        faiss.omp_set_num_threads(1)
        compare(*places, queries.shape[1], 1, len(chosen))
    else:
        room = np.empty((_block_rows(queries), queries.shape[1]), np.float32)
        for start in range(0, len(chosen), len(room)):
            part = chosen[start : start + len(room)]
            # Without "clip" NumPy would copy twice, so as to leave `out` alone where a number is out of range.
            block = rows.take(part, axis=0, out=room[: len(part)], mode="clip")
            _compare(queries, block, metric, distances[:, start : start + len(part)])
    return _least(distances, chosen, count, metric)


def nearest_in(
    queries: Vectors, copy: Vectors, slots: Slots, count: int, metric: Metric
) -> list[npt.NDArray[np.int64]]:
    """Return what `nearest_of` does, for a `copy` float32[n, d] of the rows in the slots, which lie together."""
    chosen = slots.astype(np.int64)
    if count >= len(chosen):
        return [chosen] * len(queries)
    queries = np.ascontiguousarray(queries)
    distances = np.empty((len(queries), len(copy)), np.float32)
    rows = _block_rows(queries)
    for start in range(0, len(copy), rows):
        _compare(queries, copy[start : start + rows], metric, distances[:, start : start + rows])
    return _least(distances, chosen, count, metric)


def _block_rows(queries: Vectors) -> int:
    """Return how many rows are compared with some queries at a time: few enough to stay in a processor's own cache."""
    return max(1, _BLOCK_PRODUCTS // queries.size)


def _compare(queries: Vectors, block: Vectors, metric: Metric, out: Vectors) -> None:
    """Write inner products, or squared distances, of queries and the rows of a block into `out` float32[q, n]."""
    if metric is not Metric.EUCLIDEAN and len(queries) > 1:
        # What overflows is infinitely near or far, which is as good as any order among vectors of such a size.
        with np.errstate(over="ignore", invalid="ignore"):
            np.matmul(queries, block.T, out=out)
        return
    # Squared distances by way of products would lose what is near in rounding.
    compare = getattr(faiss, "fvec_L2sqr_ny" if metric is Metric.EUCLIDEAN else "fvec_inner_products_ny")
    rows, dimension = faiss.swig_ptr(block), block.shape[1]
    for query, found in zip(queries, out, strict=True):
        compare(faiss.swig_ptr(found), faiss.swig_ptr(query), rows, dimension, len(block))


def _least(distances: Vectors, slots: npt.NDArray[np.int64], count: int, metric: Metric) -> list[npt.NDArray[np.int64]]:
    if metric is not Metric.EUCLIDEAN:
        np.negative(distances, out=distances)
    return list(slots[np.argpartition(distances, count - 1, axis=1)[:, :count]])
