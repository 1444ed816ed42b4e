"""Rate limits, the window of requests and the breaker, over a clock of the test's own."""

import pytest

from services.embedder.pace import Breaker, Pace, Window
from services.embedder.settings import BreakerSettings, FlowSettings
from services.embedder.upstream import RateNotice


def test_requests_are_spread_after_the_first_ten_seconds_worth() -> None:
    pace = Pace(requests=60, tokens=None, longest_hold=60, now=0)
    for _ in range(10):
        assert pace.wait(0) == 0
        pace.sent(1)

    assert pace.wait(0) == pytest.approx(1)
    assert pace.wait(1) == 0


def test_tokens_that_were_estimated_wrongly_are_put_right() -> None:
    pace = Pace(requests=None, tokens=600, longest_hold=60, now=0)
    pace.sent(90)
    pace.counted(90, 200)

    # 100 were there, 200 went: the next one waits until ten a second have made up for it.
    assert pace.wait(0) == pytest.approx(10.1)


def test_a_hold_has_an_end() -> None:
    pace = Pace(None, None, longest_hold=5, now=0)
    pace.block(0, 3600)

    assert pace.wait(1) == 4
    assert pace.wait(5) == 0


@pytest.mark.parametrize(
    ("notice", "wait"),
    [
        (RateNotice(0, 100, 2.0), 2),
        (RateNotice(100, 0, 3.0), 3),
        (RateNotice(0, None, None), 1),
        (RateNotice(1, 1, 9.0), 0),
        (RateNotice(None, 0, 600.0), 60),
    ],
)
def test_headers_hold_back_only_where_nothing_is_left(notice: RateNotice, wait: float) -> None:
    pace = Pace(None, None, longest_hold=60, now=0)
    pace.notice(notice, 0)

    assert pace.wait(0) == wait


def test_the_window_grows_by_one_a_round_and_halves_once_for_a_round() -> None:
    window = Window(FlowSettings(first_window=4, last_window=6))
    for _ in range(4):
        window.answered(under_way=4)
    assert window.size in (4, 5)
    for _ in range(20):
        window.answered(under_way=6)
    assert window.size == 6

    window.overloaded(now=10, sent=9)
    window.overloaded(now=11, sent=9)
    assert window.size == 3
    window.overloaded(now=12, sent=10.5)
    assert window.size == 1


def test_a_window_that_is_not_used_does_not_grow() -> None:
    window = Window(FlowSettings(first_window=4, last_window=64))
    for _ in range(100):
        window.answered(under_way=1)

    assert window.size == 4


def test_the_breaker_opens_after_failures_in_a_row_and_for_longer_each_time() -> None:
    breaker = Breaker(BreakerSettings(failures=3, first_seconds=1, last_seconds=3))
    assert [breaker.failed(now=0, sent=0) for _ in range(3)] == [False, False, True]
    assert breaker.open_for(0.4) == pytest.approx(0.6)
    # What was sent before says nothing new.
    assert breaker.failed(now=0.5, sent=0) is False

    assert (breaker.open_for(1.5), breaker.on_trial) == (0, True)
    assert breaker.failed(now=1.6, sent=1.5) is True
    assert breaker.open_for(1.6) == pytest.approx(2)
    assert breaker.failed(now=4.0, sent=3.9) is True
    assert breaker.open_for(4.0) == pytest.approx(3)

    breaker.answered()
    assert (breaker.on_trial, breaker.open_for(4.1)) == (False, 0)
    assert breaker.failed(now=5, sent=5) is False
