"""Lines of a kind are bounded by the second, and those left out are counted."""

from services.runtime.line_rate import LineRate


def test_so_many_lines_a_second_and_the_next_tells_how_many_were_not_written() -> None:
    now = 100.0
    rate = LineRate(2, lambda: now)
    assert [rate.take() for _ in range(5)] == [{}, {}, None, None, None]
    now = 100.9
    assert rate.take() is None
    now = 101.0
    assert [rate.take() for _ in range(3)] == [{"omitted": 4}, {}, None]
    now = 500.0
    assert [rate.take() for _ in range(2)] == [{"omitted": 1}, {}]


def test_nothing_is_said_where_nothing_was_left_out() -> None:
    now = 0.0
    rate = LineRate(1, lambda: now)
    for _ in range(3):
        assert rate.take() == {}
        now += 1
