"""Token buckets: how many units come at once, how fast they come back, and how many keys are remembered."""

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.rates import Buckets


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_taken_and_then_the_rate() -> None:
    clock = Clock()
    buckets = Buckets(10, clock)

    assert [buckets.take("k", 2.0, 3.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock.now = 0.4
    assert buckets.take("k", 2.0, 3.0) > 0
    clock.now = 0.5
    assert buckets.take("k", 2.0, 3.0) == 0.0


def test_keys_do_not_take_from_one_another() -> None:
    buckets = Buckets(10, Clock())
    buckets.take("a", 1.0, 1.0)

    assert buckets.exhausted("a")
    assert buckets.take("b", 1.0, 1.0) == 0.0
    assert not buckets.exhausted("never seen")


def test_a_changed_rate_holds_at_once() -> None:
    buckets = Buckets(10, Clock())
    buckets.take("k", 1.0, 1.0)

    assert buckets.take("k", 5.0, 5.0) == 0.0


def test_no_more_keys_are_remembered_than_may_be() -> None:
    buckets = Buckets(100, Clock())
    buckets.take("first", 1.0, 1.0)
    for number in range(1_000):
        buckets.take(str(number), 1.0, 1.0)

    assert len(buckets) == 100
    assert not buckets.exhausted("first")


@given(st.lists(st.floats(0, 2), min_size=1, max_size=200))
def test_never_more_is_taken_than_the_burst_and_what_flowed_in(pauses: list[float]) -> None:
    clock = Clock()
    buckets = Buckets(1, clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        taken += buckets.take("k", 3.0, 5.0) == 0.0

    assert taken <= 5 + 3 * clock.now + 1e-6
