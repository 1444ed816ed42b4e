"""The positions that searches are narrowed to, and where the index has them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from services.store.vectors.places import ABSENT, Positions, Slots
from services.store.vectors.similarity import Vectors

if TYPE_CHECKING:
    from services.store.vectors.graph import GraphIndex

#: Queries after which the vectors of a selection are copied: what that costs is what it has saved after as many.
_COPIED_AFTER = 8


class Selected:
    """Some positions int64[n], ascending, none repeated. Where they are in a graph is worked out once.

    It may be used by many threads at a time, each holding what keeps the graph from changing.
    """

    def __init__(self, positions: Positions, copies: Copies | None = None) -> None:
        self.positions = positions
        self._copies = copies
        # With the version of the graph that they are of; not with the graph, which would live as long.
        self._slots: tuple[int, Slots] | None = None
        self._bits: tuple[int, npt.NDArray[np.uint8]] | None = None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def memory_bytes(self) -> int:
        """Return the bytes of the positions and of what may be worked out for them."""
        return self.positions.nbytes * 2

    def holds(self, positions: Positions) -> npt.NDArray[np.bool_]:
        """Tell bool[m] which of some positions int64[m] are among the selected ones."""
        if not len(self):
            return np.zeros(len(positions), np.bool_)
        places = np.minimum(np.searchsorted(self.positions, positions), len(self) - 1)
        return np.asarray(self.positions[places] == positions)

    def slots_in(self, graph: GraphIndex) -> Slots:
        """Return the slots int32[<= n] of those positions that a graph has, ascending."""
        known = self._slots
        if known is None or known[0] != graph.version:
            slots = graph.slots_of(self.positions)
            # In the order in which their vectors lie in memory.
            known = self._slots = (graph.version, np.sort(slots[slots != ABSENT]))
        return known[1]

    def bits_in(self, graph: GraphIndex) -> npt.NDArray[np.uint8]:
        """Return a bit for each slot of a graph, least significant first, that is set where it is selected."""
        known = self._bits
        if known is None or known[0] != graph.version:
            known = self._bits = (graph.version, bitmap(self.slots_in(graph), graph.slots))
        return known[1]

    def copied_in(self, graph: GraphIndex, queries: int) -> Vectors | None:
        """Return a copy float32[n, d] of the vectors in `slots_in`, for so many queries; None where none is kept."""
        return None if self._copies is None else self._copies.get(self, graph, queries)


@dataclass(slots=True)
class _Copy:
    """The vectors of a selection in one state of a graph, once they are copied, and how many queries asked for them."""

    version: int
    asked: int = 0
    rows: Vectors | None = None

    @property
    def size(self) -> int:
        return 0 if self.rows is None else self.rows.nbytes


class Copies:
    """Copies of the vectors of some selections, which lie together and so are read faster. Thread-safe.

    They take a number of bytes at most, and last as long as the selection: those read longest ago make room. `fits`
    tells whether the process may have so many bytes more.
    """

    def __init__(self, most_bytes: int, fits: Callable[[int], bool] = lambda size: True) -> None:
        self._most_bytes = most_bytes
        self._fits = fits
        self._lock = threading.Lock()
        self._copying = threading.Lock()
        # By the selection as an object; read longest ago first.
        self._known: WeakKeyDictionary[Selected, _Copy] = WeakKeyDictionary()

    @property
    def size(self) -> int:
        """How many bytes they take."""
        with self._lock:
            return sum(copy.size for copy in self._known.values())

    def get(self, selected: Selected, graph: GraphIndex, queries: int) -> Vectors | None:
        """Return the vectors float32[n, d] in the slots of a selection, for so many queries; None where none are kept.

        They are copied once enough queries have asked for them: for fewer, comparing them where they lie costs less.
        """
        size = 4 * graph.dimension * len(selected.slots_in(graph))
        if size > self._most_bytes:
            return None
        with self._lock:
            copy = self._known.pop(selected, None)
            if copy is None or copy.version != graph.version:
                copy = _Copy(graph.version)
            self._known[selected] = copy
            copy.asked += queries
            if copy.rows is not None or copy.asked <= _COPIED_AFTER:
                return copy.rows
        # Whoever comes while one is being made does without it.
        if self._fits(size) and self._copying.acquire(blocking=False):
            try:
                self._make_room(size)
                copy.rows = graph.rows_near(selected.slots_in(graph))
            finally:
                self._copying.release()
        return copy.rows

    def _make_room(self, size: int) -> None:
        with self._lock:
            room = self._most_bytes - size
            for selected, copy in reversed(list(self._known.items())):
                room -= copy.size
                if room < 0:
                    del self._known[selected]


def bitmap(slots: Slots, count: int) -> npt.NDArray[np.uint8]:
    """Return bits uint8[ceil(count / 8)], least significant first, that are set for some of `count` slots."""
    chosen = np.zeros(count, np.bool_)
    chosen[slots] = True
    return np.packbits(chosen, bitorder="little")


class Selections:
    """What some filters selected lately, as of one write, within a number of bytes. Thread-safe."""

    def __init__(self, most_bytes: int, copies: Copies | None = None) -> None:
        self._most_bytes = most_bytes
        self._copies = copies
        self._lock = threading.Lock()
        self._sequence = -1
        # By the filter as an object, which is kept here so that no other gets its id.
        self._known: OrderedDict[int, tuple[object, Selected]] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> int:
        """How many bytes they take, at most, with the copies of vectors."""
        return self._bytes + (0 if self._copies is None else self._copies.size)

    def get(self, filter_: object, sequence: int, select: Callable[[], Positions]) -> Selected:
        """Return what a filter selects as of a write; `select` is asked where that is not known."""
        with self._lock:
            known = self._known.get(id(filter_)) if sequence == self._sequence else None
            if known is not None:
                self._known.move_to_end(id(filter_))
                return known[1]
        selected = Selected(select(), self._copies)
        with self._lock:
            if sequence > self._sequence:
                self._known.clear()
                self._sequence, self._bytes = sequence, 0
            if sequence == self._sequence and id(filter_) not in self._known:
                self._known[id(filter_)] = filter_, selected
                self._bytes += selected.memory_bytes
                while self._bytes > self._most_bytes:
                    _, (_, oldest) = self._known.popitem(last=False)
                    self._bytes -= oldest.memory_bytes
        return selected
