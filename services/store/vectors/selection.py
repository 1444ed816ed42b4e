"""The positions that searches are narrowed to, and where the index has them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from services.store.vectors.places import ABSENT, Positions, Slots

if TYPE_CHECKING:
    from services.store.vectors.graph import GraphIndex


class Selected:
    """Some positions int64[n], ascending, none repeated. Where they are in a graph is worked out once.

    It may be used by many threads at a time, each holding what keeps the graph from changing.
    """

    def __init__(self, positions: Positions) -> None:
        self.positions = positions
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


def bitmap(slots: Slots, count: int) -> npt.NDArray[np.uint8]:
    """Return bits uint8[ceil(count / 8)], least significant first, that are set for some of `count` slots."""
    chosen = np.zeros(count, np.bool_)
    chosen[slots] = True
    return np.packbits(chosen, bitorder="little")


class Selections:
    """What some filters selected lately, as of one write, within a number of bytes. Thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._sequence = -1
        # By the filter as an object, which is kept here so that no other gets its id.
        self._known: OrderedDict[int, tuple[object, Selected]] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> int:
        """How many bytes they take, at most."""
        return self._bytes

    def get(self, filter_: object, sequence: int, select: Callable[[], Positions]) -> Selected:
        """Return what a filter selects as of a write; `select` is asked where that is not known."""
        with self._lock:
            known = self._known.get(id(filter_)) if sequence == self._sequence else None
            if known is not None:
                self._known.move_to_end(id(filter_))
                return known[1]
        selected = Selected(select())
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
