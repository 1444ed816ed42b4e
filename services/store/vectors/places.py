"""Which slot of an index holds the vector of which document, and back."""

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
Slots = npt.NDArray[np.int32]

#: No slot, or no position.
ABSENT = -1
_FIRST_CAPACITY = 64
#: Positions of a page, as a power of two.
_PAGE_BITS = 8
_PAGE = 1 << _PAGE_BITS


class Places:
    """Slots are numbered from 0 as they are taken; each holds one position, or none once it was given free."""

    def __init__(self, positions: Positions | None = None) -> None:
        self._count = 0
        self._by_slot: Positions = np.empty(_FIRST_CAPACITY, np.int64)
        self._by_position = _Map()
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
        return self._by_slot.nbytes + self._by_position.memory_bytes

    def slots_of(self, positions: Positions) -> Slots:
        """Return the slot int32[n] of each position, `ABSENT` where it has none."""
        return self._by_position.slots_of(positions)

    def take(self, positions: Positions) -> Slots:
        """Give slots int32[n] to positions that have none."""
        slots = np.arange(self._count, self._count + len(positions), dtype=np.int32)
        if len(positions):
            if self._count + len(positions) > len(self._by_slot):
                room = np.empty(max(len(self._by_slot), len(positions)), np.int64)
                self._by_slot = np.concatenate([self._by_slot, room])
            self._by_slot[self._count : self._count + len(positions)] = positions
            self._by_position.add(positions, slots)
            self._count += len(positions)
        return slots

    def free(self, slots: Slots) -> None:
        """Give slots free; they stay, without a position."""
        self._by_position.remove(self._by_slot[slots])
        self._by_slot[slots] = ABSENT

    def exchange(self, first: int, second: int) -> None:
        """Exchange the positions of two slots."""
        for slot, position in ((first, int(self._by_slot[second])), (second, int(self._by_slot[first]))):
            self._by_slot[slot] = position
            if position != ABSENT:
                self._by_position.move(np.array([position]), np.array([slot], np.int32))

    def close_up(self, slots: Slots) -> tuple[Slots, Slots]:
        """Remove different slots, none of them free; the last ones move into their places.

        Returns the slots int32[m] that are filled, and the ones that move there.
        """
        self._by_position.remove(self._by_slot[slots])
        count = self._count - len(slots)
        filled = slots[slots < count]
        stays = np.ones(len(slots), np.bool_)
        stays[slots[slots >= count] - count] = False
        moved = (count + np.flatnonzero(stays)).astype(np.int32)
        self._by_slot[filled] = self._by_slot[moved]
        self._by_position.move(self._by_slot[filled], filled)
        self._count = count
        return filled, moved

    def _restore(self, positions: Positions) -> None:
        """Take one slot for each position, `ABSENT` for one that is free."""
        self._by_slot, self._count = positions.copy(), len(positions)
        held = np.flatnonzero(positions != ABSENT)
        self._by_position.add(positions[held], held.astype(np.int32))


class _Map:
    """The slot of each position, in pages of neighbours; a page without any takes up an entry of the directory only.

    Positions are row numbers that only grow, so that those that live lie close together or far apart from a few old
    ones; one array from the lowest to the highest would grow with every document ever written.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        # Rows of `_pages`. Row 0 is the page of all that have none, and never written to.
        self._directory: Slots = np.zeros(0, np.int32)
        self._pages: Slots = np.full((1, _PAGE), ABSENT, np.int32)
        self._held: Slots = np.zeros(1, np.int32)
        self._free: list[int] = []

    @property
    def memory_bytes(self) -> int:
        return self._directory.nbytes + self._pages.nbytes + self._held.nbytes

    def slots_of(self, positions: Positions) -> Slots:
        """Return the slot int32[n] of each position, `ABSENT` where it has none."""
        end = len(self._directory) << _PAGE_BITS
        if not len(positions) or (positions.min() >= 0 and positions.max() < end):
            return self._pages.ravel().take(self._places(positions))
        known = (positions >= 0) & (positions < end)
        slots = np.full(len(positions), ABSENT, np.int32)
        slots[known] = self.slots_of(positions[known])
        return slots

    def add(self, positions: Positions, slots: Slots) -> None:
        """Give slots to different positions that have none."""
        if not len(positions):
            return
        pages, counts = np.unique(positions >> _PAGE_BITS, return_counts=True)
        missing = int(pages[-1]) + 1 - len(self._directory)
        if missing > 0:
            room = np.zeros(max(len(self._directory) // 2, missing), np.int32)
            self._directory = np.concatenate([self._directory, room])
        new = pages[self._directory[pages] == 0]
        self._directory[new] = self._rows(len(new))
        self._held[self._directory[pages]] += counts.astype(np.int32)
        self.move(positions, slots)

    def move(self, positions: Positions, slots: Slots) -> None:
        """Give other slots to positions that have one."""
        self._pages.ravel()[self._places(positions)] = slots

    def remove(self, positions: Positions) -> None:
        """Take their slots from different positions that have one."""
        self.move(positions, np.full(len(positions), ABSENT, np.int32))
        pages, counts = np.unique(positions >> _PAGE_BITS, return_counts=True)
        rows = self._directory[pages]
        self._held[rows] -= counts.astype(np.int32)
        empty = self._held[rows] == 0
        self._directory[pages[empty]] = 0
        self._free.extend(rows[empty].tolist())
        if len(self._free) == len(self._pages) - 1:
            self._clear()

    def _places(self, positions: Positions) -> npt.NDArray[np.int64]:
        """Return where in all pages, one after the other, the positions are; much faster than by row and column."""
        places = self._directory.take(positions >> _PAGE_BITS).astype(np.int64)
        places <<= _PAGE_BITS
        places += positions & (_PAGE - 1)
        return places

    def _rows(self, count: int) -> list[int]:
        """Return rows for so many new pages."""
        missing = count - len(self._free)
        if missing > 0:
            first, more = len(self._pages), max(len(self._pages) // 2, missing)
            self._pages = np.concatenate([self._pages, np.full((more, _PAGE), ABSENT, np.int32)])
            self._held = np.concatenate([self._held, np.zeros(more, np.int32)])
            self._free.extend(range(first + more - 1, first - 1, -1))
        rows, self._free = self._free[len(self._free) - count :], self._free[: len(self._free) - count]
        return rows
