"""Which slot of an index holds the vector of which document, and back."""

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
Slots = npt.NDArray[np.int32]

#: No slot, or no position.
ABSENT = -1
_FIRST_CAPACITY = 64


class Places:
    """Slots are numbered from 0 as they are taken; each holds one position, or none once it was given free.

    Positions are row numbers that only grow, so that an array from the lowest to the highest is the smallest map.
    """

    def __init__(self, positions: Positions | None = None) -> None:
        self._count = 0
        self._by_slot: Positions = np.empty(_FIRST_CAPACITY, np.int64)
        # The slot of position p is _by_position[p - _base].
        self._base = 0
        self._by_position: Slots = np.empty(0, np.int32)
        if positions is not None:
            self._restore(positions)

    def __len__(self) -> int:
        """Return how many slots there are."""
        return self._count

    @property
    def positions(self) -> Positions:
        """Return the position int64[slots] of each slot, `ABSENT` for one that is free; a view."""
        return self._by_slot[: self._count]

    @property
    def memory_bytes(self) -> int:
        """Return the bytes of the two maps."""
        return self._by_slot.nbytes + self._by_position.nbytes

    def slots_of(self, positions: Positions) -> Slots:
        """Return the slot int32[n] of each position, `ABSENT` where it has none."""
        places = positions - self._base
        known = (places >= 0) & (places < len(self._by_position))
        slots = np.full(len(positions), ABSENT, np.int32)
        slots[known] = self._by_position[places[known]]
        return slots

    def take(self, positions: Positions) -> Slots:
        """Give slots int32[n] to positions that have none."""
        slots = np.arange(self._count, self._count + len(positions), dtype=np.int32)
        if len(positions):
            self._reach(int(positions.min()), int(positions.max()))
            if self._count + len(positions) > len(self._by_slot):
                room = np.empty(max(len(self._by_slot), len(positions)), np.int64)
                self._by_slot = np.concatenate([self._by_slot, room])
            self._by_slot[self._count : self._count + len(positions)] = positions
            self._by_position[positions - self._base] = slots
            self._count += len(positions)
        return slots

    def free(self, slots: Slots) -> None:
        """Give slots free; they stay, without a position."""
        self._by_position[self._by_slot[slots] - self._base] = ABSENT
        self._by_slot[slots] = ABSENT

    def exchange(self, first: int, second: int) -> None:
        """Exchange the positions of two slots."""
        for slot, position in ((first, int(self._by_slot[second])), (second, int(self._by_slot[first]))):
            self._by_slot[slot] = position
            if position != ABSENT:
                self._by_position[position - self._base] = slot

    def close_up(self, slots: Slots) -> tuple[Slots, Slots]:
        """Remove different slots, none of them free; the last ones move into their places.

        Returns the slots int32[m] that are filled, and the ones that move there.
        """
        self._by_position[self._by_slot[slots] - self._base] = ABSENT
        count = self._count - len(slots)
        filled = slots[slots < count]
        stays = np.ones(len(slots), np.bool_)
        stays[slots[slots >= count] - count] = False
        moved = (count + np.flatnonzero(stays)).astype(np.int32)
        self._by_slot[filled] = self._by_slot[moved]
        self._by_position[self._by_slot[filled] - self._base] = filled
        self._count = count
        return filled, moved

    def _reach(self, first: int, last: int) -> None:
        """Have room for the positions from `first` to `last`."""
        if not len(self._by_position) or not self._count:
            self._base, self._by_position = first, np.empty(0, np.int32)
        if first < self._base:
            front = np.full(self._base - first, ABSENT, np.int32)
            self._base, self._by_position = first, np.concatenate([front, self._by_position])
        missing = last - self._base + 1 - len(self._by_position)
        if missing > 0:
            room = np.full(max(len(self._by_position) // 2, missing), ABSENT, np.int32)
            self._by_position = np.concatenate([self._by_position, room])

    def _restore(self, positions: Positions) -> None:
        """Take one slot for each position, `ABSENT` for one that is free."""
        self._by_slot, self._count = positions.copy(), len(positions)
        held = np.flatnonzero(positions != ABSENT)
        if len(held):
            first, last = int(positions[held].min()), int(positions[held].max())
            self._base, self._by_position = first, np.full(last - first + 1, ABSENT, np.int32)
            self._by_position[positions[held] - self._base] = held
