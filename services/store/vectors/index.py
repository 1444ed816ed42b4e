"""The vectors of a collection, found by nearness, whatever changes meanwhile.

New vectors are compared exactly (`FlatIndex`). Past a threshold, a thread in the background moves them into a graph
(`GraphIndex`), some at a time, while both are searched; so the exact part is a short tail most of the time. What is
deleted or replaced leaves a tombstone in the graph, which is built anew past a share of them.

Two locks. `_lock` guards what writes change: the tail, and which vectors of the graph live. `_graph_lock` guards the
graph while vectors are linked into it, which writes need not wait for. Whoever takes both takes `_graph_lock` first.
Only the background adds to a graph or exchanges it, so it reads one without a lock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.store.locks import ReadWriteLock
from services.store.settings import IndexSettings
from services.store.vectors.flat import NONE_RANKED, FlatIndex, Ranked, ranked, ranked_each
from services.store.vectors.graph import GraphIndex
from services.store.vectors.places import ABSENT, Positions
from services.store.vectors.recall import NEAREST, Effort
from services.store.vectors.selection import Selected
from services.store.vectors.similarity import Metric, Vectors, exact_scores, exact_scores_of_each, prepare, similarity
from services.store.vectors.statistics import IndexStatistics

#: Effort of a search for more than the usual number grows by so much for each more.
_EFFORT_PER_MORE = 2

#: Returns the stored vectors of some positions: positions int64[m], of those that have one, and float32[m, d].
StoredVectors = Callable[[Positions], tuple[Positions, Vectors]]


class Nearest(NamedTuple):
    """What a search found, nearest first: positions int64[k] and similarities float32[k]."""

    positions: Positions
    similarities: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class IndexChange:
    """What a write changes: everything `truncated` first, then vectors `removed` int64[n], then vectors put."""

    sequence: int
    truncated: bool
    removed: Positions
    positions: Positions
    vectors: Vectors


class VectorIndex:
    """The vectors of a collection, each under its document's position. Safe to use from many threads."""

    def __init__(self, dimension: int, metric: Metric, settings: IndexSettings) -> None:
        self.dimension = dimension
        self.metric = metric
        self.settings = settings
        self._lock = ReadWriteLock()
        self._graph_lock = ReadWriteLock()
        self._tail = FlatIndex(dimension, metric)
        self._graph: GraphIndex | None = None
        self._effort = Effort()
        self._sequence = 0
        # Positions that changed while the background moves them out of the tail; None while it moves none.
        self._disturbed: list[Positions] | None = None
        self._searches = 0

    def __len__(self) -> int:
        with self._lock.reading():
            return len(self._tail) + (0 if self._graph is None else len(self._graph))

    @property
    def sequence(self) -> int:
        """Return the number of the last write that is in the index."""
        return self._sequence

    def change(self, change: IndexChange) -> None:
        """Take over a write that is committed: wholly, for searches that run beside it."""
        prepared = prepare(change.vectors, self.metric)
        gone = np.concatenate([change.removed, change.positions])
        with self._lock.writing():
            self._sequence = max(self._sequence, change.sequence)
            if change.truncated:
                self._tail.clear()
                self._graph, self._effort = None, Effort()
            if self._disturbed is not None:
                self._disturbed.append(gone)
            if self._graph is not None and len(gone):
                self._graph.remove(gone)
            if len(change.removed):
                self._tail.remove(change.removed)
            if len(change.positions):
                self._tail.put(change.positions, prepared)

    # --- searching ---

    def search(
        self, queries: Vectors, limit: int, stored: StoredVectors, selected: Selected | None = None
    ) -> list[Nearest]:
        """Return the `limit` nearest to each query float32[q, d], among the selected positions.

        Selected positions without a vector are passed over. `stored` is asked where the graph keeps rounded vectors.
        """
        prepared = prepare(queries, self.metric)
        self._searches += len(prepared)
        with self._graph_lock.reading(), self._lock.reading():
            tail = self._tail.search(prepared, limit, selected)
            graph = self._graph
            if graph is None or not len(graph):
                return self._nearest(tail)
            candidates = self._candidates(graph, prepared, limit, selected)
            # Taken along, because positions and rows may change once the locks are given back.
            named, exact = graph.positions, graph.exact_rows
            positions = [named[slots] for slots in candidates]
            rows = None if exact is None else exact.take(np.concatenate(candidates), axis=0)
        near = self._ranked(prepared, positions, rows, stored)
        return self._nearest([_merged(ahead, found).first(limit) for ahead, found in zip(tail, near, strict=True)])

    def _ranked(
        self, queries: Vectors, positions: list[Positions], rows: Vectors | None, stored: StoredVectors
    ) -> list[Ranked]:
        """Return the candidates of each query ranked by their stored vectors; `rows` has those of all, if known."""
        if rows is None:
            return [
                self._exact(query, *self._stored(near, stored)) for query, near in zip(queries, positions, strict=True)
            ]
        count = len(positions[0])
        if count and all(len(near) == count for near in positions):
            scores = exact_scores_of_each(queries, rows.reshape(len(queries), count, -1), self.metric)
            return ranked_each(np.concatenate(positions).reshape(scores.shape), scores)
        ends = np.cumsum([len(near) for near in positions])
        parts = np.split(rows, ends[:-1])
        return [self._exact(query, near, part) for query, near, part in zip(queries, positions, parts, strict=True)]

    def _stored(self, positions: Positions, stored: StoredVectors) -> tuple[Positions, Vectors]:
        found, vectors = stored(positions)
        return found, prepare(vectors, self.metric)

    def _exact(self, query: Vectors, positions: Positions, rows: Vectors) -> Ranked:
        return ranked(positions, exact_scores(query, rows, self.metric)) if len(positions) else NONE_RANKED

    def _candidates(
        self, graph: GraphIndex, queries: Vectors, limit: int, selected: Selected | None
    ) -> list[npt.NDArray[np.int64]]:
        """Return the slots of the graph's vectors that may be among the nearest to each query."""
        count = limit + graph.more_than(limit)
        effort = self._effort
        if selected is None:
            steps = effort.walk + _EFFORT_PER_MORE * max(0, limit - NEAREST)
            found = graph.search(queries, count, steps)
            # Only the last ones can be missing.
            short = ABSENT in found[:, -1].tolist()
            return [slots[slots != ABSENT] for slots in found] if short else list(found)
        # To find twice as many among all is to find as many among half of them.
        part = NEAREST / max(NEAREST, limit)
        return graph.search_among(queries, count, lambda share: effort.walk_among(share * part, graph.links), selected)

    def _nearest(self, found: Sequence[Ranked]) -> list[Nearest]:
        """Return what each query found with similarities, which are computed together."""
        if len(found) == 1:
            return [Nearest(found[0].positions, similarity(found[0].scores, self.metric))]
        similarities = similarity(np.concatenate([near.scores for near in found]), self.metric)
        ends = list(accumulate(len(near.positions) for near in found))
        parts = [similarities[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return [Nearest(near.positions, part) for near, part in zip(found, parts, strict=True)]

    # --- figures ---

    def statistics(self) -> IndexStatistics:
        """Return figures about the index."""
        with self._lock.reading():
            graph = self._graph
            return IndexStatistics(
                kind="exact" if graph is None else "graph",
                vectors=len(self._tail) + (0 if graph is None else len(graph)),
                memory_bytes=self._tail.memory_bytes + (0 if graph is None else graph.memory_bytes),
                tombstones=0 if graph is None else graph.tombstones,
                graph_vectors=0 if graph is None else len(graph),
                search_effort=0 if graph is None else self._effort.walk,
                recall=None if graph is None else self._effort.recall,
            )

    def growth_bytes(self, count: int) -> int:
        """Return how many bytes more so many new vectors may take, before the background moves them."""
        with self._lock.reading():
            return self._tail.growth_bytes(count)

    # --- for the background alone ---

    @property
    def graph(self) -> GraphIndex | None:
        """Return the graph; None where every vector is compared."""
        return self._graph

    @property
    def effort(self) -> Effort:
        """Return how far searches walk the graph, as it was measured."""
        return self._effort

    @property
    def waiting(self) -> int:
        """Return how many vectors are not in the graph."""
        return len(self._tail)

    @property
    def searches(self) -> int:
        """Return how many searches there have been."""
        return self._searches

    def sample(self, count: int, random: np.random.Generator | None = None) -> Vectors:
        """Return prepared vectors float32[<= count, d] that are not in the graph, and are the last to get there.

        With `random` they are drawn from all that are not, else they are the ones drawn before, as far as possible.
        """
        with self._lock.writing():
            if random is not None:
                self._tail.to_front(count, random)
            return self._tail.rows[:count].copy()

    def move(self, count: int, threads: int) -> int:
        """Move so many vectors into the graph and return how many were there to move."""
        with self._lock.writing():
            first = max(0, len(self._tail) - count)
            positions, rows = self._tail.positions[first:].copy(), self._tail.rows[first:].copy()
            graph = self._graph
            if graph is None or not len(positions):
                return 0
            disturbed = self._disturbed = []
        with self._graph_lock.writing():
            graph.add(rows, threads)
            with self._lock.writing():
                self._disturbed = None
                if self._graph is graph:
                    live = ~np.isin(positions, np.concatenate([np.empty(0, np.int64), *disturbed]))
                    graph.take(positions, live)
                    self._tail.remove(positions[live])
        return len(positions)

    def live(self) -> tuple[int, Positions]:
        """Return the number of the last write, and the position int64[slots] of each of the graph's vectors then."""
        with self._lock.reading():
            positions = np.empty(0, np.int64) if self._graph is None else self._graph.positions.copy()
            return self._sequence, positions

    def install(
        self, graph: GraphIndex | None, replaced: GraphIndex, rest: tuple[Positions, Vectors], effort: Effort
    ) -> bool:
        """Search another graph, or none, in the place of one; False where that is no longer searched itself.

        `rest` has prepared vectors that were in it and are not in the other. What became a tombstone meanwhile is
        passed over.
        """
        with self._graph_lock.writing(), self._lock.writing():
            if self._graph is not replaced:
                return False
            if graph is not None:
                held = graph.positions[graph.positions != ABSENT]
                graph.remove(held[replaced.slots_of(held) == ABSENT])
            positions, rows = rest
            lives = replaced.slots_of(positions) != ABSENT
            self._tail.put(positions[lives], rows[lives])
            self._graph, self._effort = graph, effort
            return True

    def begin(self, graph: GraphIndex, effort: Effort, sequence: int = 0) -> None:
        """Search a graph beside the tail: an empty one, or what a snapshot has of the writes up to `sequence`."""
        with self._graph_lock.writing(), self._lock.writing():
            # The recall that is asked for may be another than when the snapshot was written.
            self._graph, self._effort = graph, effort.aimed_at(self.settings.target_recall)
            self._sequence = max(self._sequence, sequence)

    def set_effort(self, graph: GraphIndex, effort: Effort) -> None:
        """Have searches of a graph walk so far."""
        with self._lock.writing():
            if self._graph is graph:
                self._effort = effort

    def compact(self) -> None:
        """Give back memory kept for more vectors."""
        with self._lock.writing():
            self._tail.compact()


def _merged(first: Ranked, second: Ranked) -> Ranked:
    if not len(first.positions):
        return second
    if not len(second.positions):
        return first
    return ranked(np.concatenate([first.positions, second.positions]), np.concatenate([first.scores, second.scores]))
