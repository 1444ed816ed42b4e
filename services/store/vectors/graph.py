"""Approximate search: a graph of near neighbours (HNSW), by FAISS.

The graph only grows. A vector that is removed becomes a tombstone: searches walk through it and do not return it,
until the graph is built anew. How far a search walks is its effort (FAISS's `efSearch`).
"""

import itertools
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import faiss as typed_faiss
import numpy as np
import numpy.typing as npt

from services.store.settings import IndexSettings
from services.store.vectors.flat import MARGIN, nearest_in, nearest_of, threads_for
from services.store.vectors.places import ABSENT, Places, Positions, Slots
from services.store.vectors.selection import Selected
from services.store.vectors.similarity import Metric, Vectors

#: FAISS brings types for a part of what it has only.
faiss: Any = typed_faiss
_QUANTIZERS = {"float16": faiss.ScalarQuantizer.QT_fp16, "int8": faiss.ScalarQuantizer.QT_8bit}
#: Where fewer of the selected vectors are met than this share of what was expected, they lie elsewhere than the query.
_EXPECTED_SHARE = 0.7
#: Walks that are taken before all selected vectors are compared: by their share of all, and by the share that was met.
_WALKS = 2
#: What a comparison costs in a walk, in those of a scan for one query: neighbours lie anywhere.
WALKED_COST = 2.0
#: What a scan costs, in those of a scan for one query: to read a vector for several queries, to read it of a copy, and
#: to compare it with one of them.
_GATHERED_COST, _COPIED_COST, _COMPARED_COST = 1.25, 0.6, 0.05
#: Candidates beyond those wanted where vectors are exact: what float32 cannot tell apart is then told by float64.
_EXACT_MARGIN = 4
#: Numbers for the states of all graphs.
_VERSIONS = itertools.count()
#: Bytes that FAISS keeps for a vector beside its code and its links: level and offset.
_BOOKKEEPING = 12


class Walk(NamedTuple):
    """How far to walk (FAISS's `efSearch`), and how many vectors that compares, about."""

    steps: int
    compared: int


class GraphIndex:
    """Prepared vectors in a graph, each under its document's position. Adding excludes searching; see `VectorIndex`."""

    def __init__(self, dimension: int, metric: Metric, settings: IndexSettings) -> None:
        self.dimension = dimension
        self.metric = metric
        self.storage = settings.storage
        self._measure = faiss.METRIC_L2 if metric is Metric.EUCLIDEAN else faiss.METRIC_INNER_PRODUCT
        if settings.storage == "float32":
            graph = faiss.IndexHNSWFlat(dimension, settings.links, self._measure)
        else:
            graph = faiss.IndexHNSWSQ(dimension, _QUANTIZERS[settings.storage], settings.links, self._measure)
        graph.hnsw.efConstruction = settings.construction_effort
        self.links = settings.links
        self._adopt(graph, Places(), np.empty(0, np.bool_))

    def _adopt(self, graph: Any, places: Places, live: npt.NDArray[np.bool_]) -> None:
        self.faiss_index = graph
        self._vectors = faiss.downcast_index(graph.storage)
        self._rows: Vectors | None = None
        self._places = places
        self._live = live
        self._tombstones = len(places) - int(live.sum())
        # Vectors that FAISS has room for: as others do, it doubles the room when it is full.
        self._room = len(places)
        #: Another number for every state of every graph: for what is derived from where vectors are in it.
        self.version = next(_VERSIONS)

    def restore(self, graph: Any, positions: Positions) -> None:
        """Become what a snapshot has: a graph, and the position int64[n] of each slot, `ABSENT` for a tombstone.

        Raises `ValueError` where it is another kind of graph than the settings ask for, or not of that size.
        """
        wanted = (self.dimension, self._measure, type(self.faiss_index), self._code(), self.links)
        fresh = type(self).__new__(type(self))
        fresh.links = graph.hnsw.nb_neighbors(1)
        fresh._adopt(graph, Places(positions), positions != ABSENT)
        held = (graph.d, graph.metric_type, type(graph), fresh._code(), fresh.links)
        if held != wanted or graph.ntotal != len(positions):
            raise ValueError(f"it holds {graph.ntotal} of {held} for {len(positions)} of {wanted}")
        graph.hnsw.efConstruction = self.faiss_index.hnsw.efConstruction
        self._adopt(graph, fresh._places, fresh._live)

    def _code(self) -> int:
        """Return the bytes that FAISS keeps of a vector."""
        return int(self._vectors.code_size)

    def __len__(self) -> int:
        """Return how many vectors there are, tombstones left out."""
        return len(self._places) - self._tombstones

    @property
    def slots(self) -> int:
        """Return how many vectors there are, with tombstones."""
        return len(self._places)

    @property
    def tombstones(self) -> int:
        """Return how many of its vectors have been removed."""
        return self._tombstones

    @property
    def positions(self) -> Positions:
        """Return the position int64[slots] of each slot, `ABSENT` for a tombstone; a view."""
        return self._places.positions

    @property
    def memory_bytes(self) -> int:
        """Return the bytes of vectors, links and places."""
        links = 4 * self.faiss_index.hnsw.neighbors.size() + _BOOKKEEPING * self.slots
        return int(self.slots * self._code() + links + self._places.memory_bytes + self._live.nbytes)

    def growth_bytes(self, count: int) -> int:
        """Return how many bytes more adding so many vectors may take, what is copied meanwhile included."""
        row = self._code() + 8 * self.links + _BOOKKEEPING
        return (count if self.slots + count <= self._room else self.slots + count) * row

    @property
    def exact_rows(self) -> Vectors | None:
        """Return the vectors float32[slots, d] where it keeps them as they are; a view that adding ends."""
        if self.storage != "float32":
            return None
        rows = self._rows
        if rows is None or len(rows) != self.slots:
            flat = faiss.rev_swig_ptr(self._vectors.get_xb(), self.slots * self.dimension)
            rows = self._rows = np.asarray(flat).reshape(self.slots, self.dimension)
        return rows

    def more_than(self, limit: int) -> int:
        """Return how many candidates beyond those wanted are worth comparing by their stored vectors.

        Few where the graph has those vectors itself; as many again, and some, where it has them rounded.
        """
        return _EXACT_MARGIN if self.storage == "float32" else MARGIN + limit

    def train(self, sample: Vectors) -> None:
        """Learn the range of values from prepared vectors, as `int8` needs before the first `add`."""
        if not self.faiss_index.is_trained:
            self.faiss_index.train(sample)

    def add(self, prepared: Vectors, threads: int) -> None:
        """Link prepared vectors float32[n, d] into the graph. They are found once `take` has named them."""
        faiss.omp_set_num_threads(threads)
        self._rows = None
        if self.slots + len(prepared) > self._room:
            self._room = max(2 * self._room, self.slots + len(prepared))
        self.faiss_index.add(prepared)

    def take(self, positions: Positions, live: npt.NDArray[np.bool_]) -> None:
        """Name the vectors added last, int64[n]; those not `live` (bool[n]) are tombstones at once."""
        slots = self._places.take(positions)
        if len(self._places) > len(self._live):
            self._live = np.concatenate([self._live, np.zeros(max(len(self._live), len(positions)), np.bool_)])
        self._live[slots] = True
        self._bury(slots[~live])

    def remove(self, positions: Positions) -> None:
        """Turn the vectors under some positions into tombstones; positions without one are passed over."""
        slots = self._places.slots_of(positions)
        self._bury(slots[slots != ABSENT])

    def _bury(self, slots: Slots) -> None:
        """Turn some slots, or none, into tombstones; whatever changed which vectors there are ends here."""
        self._places.free(slots)
        self._live[slots] = False
        self._tombstones += len(slots)
        self.version = next(_VERSIONS)

    # --- searching ---

    def search(self, queries: Vectors, count: int, effort: int) -> npt.NDArray[np.int64]:
        """Return the slots int64[q, count] of the vectors nearest to each prepared query, `ABSENT` past the last."""
        bits = np.packbits(self._live[: self.slots], bitorder="little") if self._tombstones else None
        # What is removed takes up a share of the walk.
        wider = effort * self.slots // max(1, len(self))
        return self.walk(queries, count, max(wider, count), bits)

    def slots_of(self, positions: Positions) -> Slots:
        """Return the slot int32[n] of each position, `ABSENT` where it has none."""
        return self._places.slots_of(positions)

    def search_among(
        self, queries: Vectors, count: int, walk_for: Callable[[float], Walk], selected: Selected
    ) -> list[npt.NDArray[np.int64]]:
        """Return the selected slots int64[<= count] nearest to each prepared query float32[q, d].

        A walk goes as far as `walk_for` tells for the share of the vectors that is selected; where that costs more
        than comparing all that are selected, they are. Near some queries fewer are selected than elsewhere: a walk that
        meets too few of them is taken again, as far as the share it met asks for.
        """
        found: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)] * len(queries)
        slots = selected.slots_in(self)
        copy: Vectors | None = None
        left = np.arange(len(queries) if len(slots) else 0)
        share = len(slots) / max(1, self.slots)
        for _ in range(_WALKS):
            if not len(left):
                break
            walk = walk_for(share)
            cost = WALKED_COST * walk.compared
            if cost >= _scan_cost(len(slots), len(left), copied=True):
                copy = selected.copied_in(self, len(left))
            if cost >= _scan_cost(len(slots), len(left), copied=copy is not None):
                break
            enough = max(count, math.ceil(_EXPECTED_SHARE * walk.compared * share))
            walked = self.walk(queries[left], enough, walk.steps, selected.bits_in(self))
            met = np.count_nonzero(walked != ABSENT, axis=1)
            for query, near, size in zip(left.tolist(), walked, met.tolist(), strict=True):
                found[query] = near[: min(count, size)]
            few = met < min(enough, len(slots))
            if few.any():
                share = max(1, int(met[few].min())) / walk.compared
            left = left[few]
        if len(left):
            compared = self._compare(queries[left], count, slots, copy)
            for query, near in zip(left.tolist(), compared, strict=True):
                found[query] = near
        return found

    def walk(
        self, queries: Vectors, count: int, steps: int, bits: npt.NDArray[np.uint8] | None
    ) -> npt.NDArray[np.int64]:
        """Return the slots int64[q, count] that a walk of so many steps finds, among those whose bits are set.

        `ABSENT` fills the rest. `count` does not make the walk longer.
        """
        faiss.omp_set_num_threads(threads_for(len(queries)))
        if bits is None:
            parameters = _unselected(steps)
        else:
            selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
            parameters = faiss.SearchParametersHNSW(efSearch=steps, sel=selector)
        queries = np.ascontiguousarray(queries)
        scores, found = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
        places = (faiss.swig_ptr(scores), faiss.swig_ptr(found))
        self.faiss_index.search_c(len(queries), faiss.swig_ptr(queries), count, *places, parameters)
        return found

    def _compare(self, queries: Vectors, count: int, slots: Slots, copy: Vectors | None) -> list[npt.NDArray[np.int64]]:
        if copy is not None:
            return nearest_in(queries, copy, slots, count, self.metric)
        rows = self.exact_rows
        if rows is not None:
            return nearest_of(queries, rows, slots, count, self.metric)
        own = np.arange(len(slots), dtype=np.int32)
        near = nearest_of(queries, self.rows_near(slots), own, count, self.metric)
        return [np.asarray(slots[numbers], np.int64) for numbers in near]

    def rows_near(self, slots: Slots) -> Vectors:
        """Return the vectors float32[n, d] of some slots, as near to what was added as the storage keeps them."""
        rows = self.exact_rows
        if rows is not None:
            return np.asarray(rows[slots])
        codes = faiss.rev_swig_ptr(self._vectors.codes.data(), self.slots * self._code())
        chosen = np.ascontiguousarray(np.asarray(codes).reshape(self.slots, -1)[slots])
        return np.asarray(self._vectors.sa_decode(chosen))


def _scan_cost(vectors: int, queries: int, *, copied: bool) -> float:
    """Return what comparing so many vectors costs for each of some queries, in vectors compared with one alone."""
    if queries == 1 and not copied:
        return vectors
    return vectors * ((_COPIED_COST if copied else _GATHERED_COST) / queries + _COMPARED_COST)


@lru_cache
def _unselected(steps: int) -> Any:
    """Return the parameters of walks among all vectors, made once: FAISS only reads them."""
    return faiss.SearchParametersHNSW(efSearch=steps)
