"""Slots and positions: a map both ways, whatever is taken, given free and closed up."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.store.vectors.places import ABSENT, Places

#: Near each other, and far from those.
POSITIONS = st.integers(1, 400) | st.integers(100_000, 100_300)


class PlacesMachine(RuleBasedStateMachine):
    """A list says which slot has which position."""

    def __init__(self) -> None:
        super().__init__()
        self.places = Places()
        self.slots: list[int] = []

    @rule(positions=st.sets(POSITIONS, max_size=60))
    def take(self, positions: set[int]) -> None:
        new = [position for position in positions if position not in self.slots]
        taken = self.places.take(np.array(new, np.int64))
        assert taken.tolist() == list(range(len(self.slots), len(self.slots) + len(new)))
        self.slots += new

    @rule(positions=st.sets(POSITIONS, max_size=30))
    def free(self, positions: set[int]) -> None:
        slots = self.places.slots_of(np.array(sorted(positions), np.int64))
        self.places.free(slots[slots != ABSENT])
        self.slots = [ABSENT if position in positions else position for position in self.slots]

    @precondition(lambda self: ABSENT not in self.slots)
    @rule(positions=st.sets(POSITIONS, max_size=30))
    def close_up(self, positions: set[int]) -> None:
        slots = self.places.slots_of(np.array(sorted(positions), np.int64))
        filled, moved = self.places.close_up(slots[slots != ABSENT])
        for slot, other in zip(filled.tolist(), moved.tolist(), strict=True):
            self.slots[slot] = self.slots[other]
        del self.slots[len(self.places) :]
        assert not positions & set(self.slots)

    @precondition(lambda self: len(self.slots) > 1)
    @rule(data=st.data())
    def exchange(self, data: st.DataObject) -> None:
        first, second = (data.draw(st.integers(0, len(self.slots) - 1)) for _ in range(2))
        self.places.exchange(first, second)
        self.slots[first], self.slots[second] = self.slots[second], self.slots[first]

    @rule()
    def restore(self) -> None:
        self.places = Places(np.array(self.slots, np.int64))

    @invariant()
    def agrees(self) -> None:
        assert self.places.positions.tolist() == self.slots
        every = np.concatenate([np.arange(0, 410), np.arange(99_990, 100_310), [10**12]])
        expected = {position: slot for slot, position in enumerate(self.slots) if position != ABSENT}
        assert self.places.slots_of(every).tolist() == [expected.get(at, ABSENT) for at in every.tolist()]


TestPlacesMachine = PlacesMachine.TestCase
TestPlacesMachine.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)


def test_memory_goes_with_the_positions_that_are_held_not_with_all_there_ever_were() -> None:
    places = Places()
    places.take(np.array([1]))
    for first in range(1_000, 2_000_000, 1_000):
        places.close_up(places.take(np.arange(first, first + 1_000)))

    assert len(places) == 1
    assert places.memory_bytes < 100_000


def test_one_old_position_among_new_ones_takes_little() -> None:
    places = Places()
    places.take(np.arange(10**9, 10**9 + 1_000))
    places.take(np.array([5]))

    assert places.slots_of(np.array([5, 10**9 + 7, 6])).tolist() == [1_000, 7, ABSENT]
    assert places.memory_bytes < 32 * 1024 * 1024
