"""What the background does for one collection's index: moves vectors into the graph, measures it, keeps it on disk.

Everything here can be stopped between two portions, and done again after a crash: what is derived from the documents
is never the only copy of anything.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import structlog

from services.store.vectors.flat import CORES
from services.store.vectors.graph import GraphIndex
from services.store.vectors.index import StoredVectors, VectorIndex
from services.store.vectors.places import ABSENT, Positions
from services.store.vectors.recall import SAMPLE, Effort, measured
from services.store.vectors.similarity import Vectors, prepare
from services.store.vectors.snapshot import Snapshot, remove_snapshot, write_snapshot

#: Vectors of a portion at first, least and at most; FAISS links more than a hundred at a time with all threads.
_PORTION, _LEAST, _MOST = 128, 4, 2_048
#: How long searches may wait for a portion while there are any, and while there have been none lately, in seconds.
_HOLD_SEARCHED, _HOLD_IDLE = 0.005, 0.1
_LATELY_SECONDS = 0.5
#: Vectors that are read at a time where all are looked at, and that int8 learns the range of values from.
_READ, _TRAINING = 4_096, 16_384
#: Growth after which recall is measured again.
_MEASURE_GROWTH = 1.3
#: Vectors that recall is measured with, at least.
_LEAST_SAMPLE = 32
#: Share of a graph that changed after which it is written to disk.
_SNAPSHOT_SHARE = 0.2
#: The same when the collection is closed, where time is short but a later start gains.
_CLOSING_SHARE = 0.02

#: How long nothing is built after there was no memory for it.
_NO_ROOM_SECONDS = 30.0

#: Asks for memory of so many bytes while something is built; raises `MemoryError` where there is not so much.
Reserve = Callable[[int], AbstractContextManager[None]]

_OnDisk = tuple["weakref.ref[GraphIndex] | None", int, int]

log = structlog.get_logger(__name__)


class IndexBuilder:
    """The background's work for one index. `work` is for one thread at a time.

    `stored` reads vectors of the collection, `reserve` asks for memory; `name` is for the log.
    """

    def __init__(self, index: VectorIndex, folder: Path, stored: StoredVectors, reserve: Reserve, name: str) -> None:
        self.index = index
        self._folder = folder
        self._stored = stored
        self._reserve = reserve
        self._name = name
        self._stopped = threading.Event()
        self._portion = _PORTION
        self._searched = (0, 0.0)
        self._random = np.random.default_rng()
        # The graph that is on disk, which may have been given up, and its slots and tombstones there.
        self._on_disk: _OnDisk = (None, 0, 0)
        # When memory may be asked for again after there was none.
        self._no_room_until = 0.0
        self._asked = False

    def restored(self, graph: GraphIndex) -> None:
        """Note that a graph is on disk as it is."""
        self._on_disk = (weakref.ref(graph), graph.slots, graph.tombstones)

    def due(self) -> bool:
        """Tell whether there is work."""
        if time.monotonic() < self._no_room_until:
            return False
        graph = self.index.graph
        if graph is None:
            return self.index.waiting > self.index.settings.exact_below
        return self.index.waiting > self.index.settings.tail or self._too_many_tombstones(graph)

    def ask_for_rebuild(self) -> None:
        """Have the graph built anew if it has any tombstone now, whatever their share."""
        graph = self.index.graph
        self._asked = graph is not None and graph.tombstones > 0

    def stop(self) -> None:
        """Have `work` return at the next portion."""
        self._stopped.set()

    def work(self) -> None:
        """Bring the graph up to date, as far as there is memory for it."""
        try:
            self._work()
        except MemoryError as problem:
            self._no_room_until = time.monotonic() + _NO_ROOM_SECONDS
            log.warning("no memory to work on the graph", collection=self._name, problem=str(problem))

    def _work(self) -> None:
        settings = self.index.settings
        graph = self.index.graph
        if graph is None and self.index.waiting > settings.exact_below:
            graph = GraphIndex(self.index.dimension, self.index.metric, settings)
            log.info("building a graph", collection=self._name, vectors=self.index.waiting)
            graph.train(self.index.sample(_TRAINING, self._random))
            self.index.begin(graph, Effort())
        if graph is None:
            return
        self._drain(graph)
        if self._too_many_tombstones(graph) and not self._stopped.is_set():
            self._rebuild(graph)
        self._asked = False
        current = self.index.graph
        if current is not None and not self._stopped.is_set():
            self._snapshot(current, _SNAPSHOT_SHARE)

    def close(self) -> None:
        """Write the graph to disk where that spares the next start work; `work` must not run any more."""
        graph = self.index.graph
        if graph is not None and len(graph):
            self._snapshot(graph, _CLOSING_SHARE)

    # --- into the graph ---

    def _drain(self, graph: GraphIndex) -> None:
        """Move what waits into the graph; the vectors that recall is measured with go last."""
        self.index.sample(SAMPLE, self._random)
        while (left := self.index.waiting) > SAMPLE:
            if self._stopped.is_set() or self.index.graph is not graph:
                return
            self._move(min(self._portion, left - SAMPLE))
        self._measure(graph)
        self._move(self.index.waiting)

    def _move(self, count: int) -> None:
        hold = _HOLD_SEARCHED if self._searched_lately() else _HOLD_IDLE
        start = time.monotonic()
        graph = self.index.graph
        with self._reserve(0 if graph is None else graph.growth_bytes(count)):
            moved = self.index.move(count, CORES)
        taken = time.monotonic() - start
        if moved:
            self._portion = int(np.clip(moved * hold / max(taken, 1e-6), self._portion / 2, self._portion * 2))
            self._portion = min(max(self._portion, _LEAST), _MOST)

    def _searched_lately(self) -> bool:
        count, at = self._searched
        now = time.monotonic()
        if self.index.searches != count:
            self._searched = (self.index.searches, now)
            return True
        return now - at < _LATELY_SECONDS

    # --- recall ---

    def _measure(self, graph: GraphIndex) -> None:
        """Measure what searches find, with vectors that are not in the graph yet, if it has grown since."""
        known = self.index.effort
        grown = known.recall is None or len(graph) > _MEASURE_GROWTH * known.vectors
        if not grown or not len(graph) or self.index.waiting < _LEAST_SAMPLE:
            return
        vectors = self.index.sample(SAMPLE)
        curves = measured(graph, vectors, self._portions(graph), self._random)
        effort = Effort(curves, len(graph), self.index.settings.target_recall)
        self.index.set_effort(graph, effort)
        log.info("recall measured", collection=self._name, recall=effort.recall, effort=effort.walk)

    def _portions(self, graph: GraphIndex) -> Iterator[tuple[Positions, Vectors]]:
        """Yield the vectors of a graph, prepared and exact, with their positions."""
        for start in range(0, graph.slots, _READ):
            positions = graph.positions[start : start + _READ].copy()
            held = positions != ABSENT
            rows = graph.exact_rows
            if rows is not None:
                yield positions[held], rows[start : start + _READ][held]
            else:
                found, vectors = self._stored(positions[held])
                yield found, prepare(vectors, self.index.metric)

    # --- anew ---

    def _too_many_tombstones(self, graph: GraphIndex) -> bool:
        return graph.tombstones > (0 if self._asked else self.index.settings.rebuild_share * graph.slots)

    def _rebuild(self, old: GraphIndex) -> None:
        """Build a graph of what lives, and search that one; of few vectors, none."""
        kept = len(old)
        none = (np.empty(0, np.int64), np.empty((0, self.index.dimension), np.float32))
        if kept <= self.index.settings.exact_below // 2:
            parts = list(self._portions(old))
            rest = tuple(np.concatenate(part) for part in zip(*parts, strict=True)) if parts else none
            self.index.install(None, old, (rest[0], rest[1]), Effort())
            self.remove_snapshot()
            return
        log.info("building the graph anew", collection=self._name, vectors=kept)
        with self._reserve(old.memory_bytes * kept // max(1, old.slots)):
            new = self._built(old)
        if not self._stopped.is_set() and self.index.install(new, old, none, self.index.effort):
            log.info("graph built anew", collection=self._name, vectors=len(new), tombstones=old.tombstones)

    def _built(self, old: GraphIndex) -> GraphIndex:
        new = GraphIndex(self.index.dimension, self.index.metric, self.index.settings)
        for positions, rows in self._portions(old):
            if self._stopped.is_set():
                break
            new.train(rows)
            new.add(rows, CORES)
            new.take(positions, np.ones(len(positions), np.bool_))
        return new

    # --- on disk ---

    def _snapshot(self, graph: GraphIndex, share: float) -> None:
        """Write the graph to disk, if enough of it changed since."""
        written, slots, tombstones = self._on_disk
        if written is None or written() is not graph:
            slots = tombstones = 0
        changed = graph.slots - slots + graph.tombstones - tombstones
        if changed < max(self.index.settings.snapshot_after, share * graph.slots):
            return
        sequence, positions = self.index.live()
        if self.index.graph is not graph:
            return
        try:
            write_snapshot(self._folder, graph, positions, Snapshot(sequence, self.index.effort))
        except OSError as problem:
            log.warning("the graph could not be written to disk", collection=self._name, problem=str(problem))
            return
        self._on_disk = (weakref.ref(graph), graph.slots, int((positions == ABSENT).sum()))

    def remove_snapshot(self) -> None:
        """Have no graph on disk; where that fails the log says so."""
        try:
            remove_snapshot(self._folder)
        except OSError as problem:
            log.warning("the old graph could not be removed", collection=self._name, problem=str(problem))
        self._on_disk = (None, 0, 0)
