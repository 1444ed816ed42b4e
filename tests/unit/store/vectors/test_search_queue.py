"""Searches that arrive while another is under way are answered together by the next call."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from services.store.vectors.search_queue import SearchQueue

Queue = SearchQueue[int, str]


class Slow:
    """Answers each number with its text; the first call waits until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.started, self.go = threading.Event(), threading.Event()

    def answer(self, numbers: Sequence[int]) -> list[str]:
        self.calls.append(sorted(numbers))
        self.started.set()
        assert self.go.wait(10)
        if min(numbers) < 0:
            raise ValueError("no such number")
        return [str(number) for number in numbers]


@pytest.fixture
def slow() -> Slow:
    return Slow()


def run_together(slow: Slow, numbers: Sequence[int], kinds: Sequence[int]) -> list[Future[str]]:
    """Ask for a number of kind 0, and for others while that is being answered."""
    queue = Queue(slow.answer)
    with ThreadPoolExecutor(len(numbers) + 1) as threads:
        asked = [threads.submit(queue.run, 1, 0)]
        assert slow.started.wait(10)
        asked += [threads.submit(queue.run, number, kind) for number, kind in zip(numbers, kinds, strict=True)]
        while len(queue) < 1 + len(numbers):
            pass
        slow.go.set()
    return asked


def test_those_that_wait_are_answered_by_one_call_and_each_has_its_own_answer(slow: Slow) -> None:
    asked = run_together(slow, range(2, 12), [0] * 10)
    assert [future.result() for future in asked] == [str(number) for number in range(1, 12)]
    assert slow.calls == [[1], list(range(2, 12))]


def test_another_kind_is_not_mixed_and_does_not_wait(slow: Slow) -> None:
    asked = run_together(slow, [2, 9, 3], [0, 9, 0])
    assert [future.result() for future in asked] == ["1", "2", "9", "3"]
    assert sorted(slow.calls[:2]) == [[1], [9]]
    assert slow.calls[2:] == [[2, 3]]


def test_nothing_is_kept_of_a_kind_that_nobody_asks_for(slow: Slow) -> None:
    slow.go.set()
    queue = Queue(slow.answer)
    assert [queue.run(number, kind=number) for number in (3, 4)] == ["3", "4"]
    assert len(queue) == 0
    assert not queue._lines


def test_no_more_than_so_many_are_answered_by_one_call(slow: Slow) -> None:
    run_together(slow, range(2, 50), [0] * 48)
    assert list(map(len, slow.calls)) == [1, 32, 16]


def test_an_error_is_told_to_the_one_who_asked_for_it(slow: Slow) -> None:
    asked = run_together(slow, [2, -3, 4], [0, 0, 0])
    assert [future.exception() is None for future in asked] == [True, True, False, True]
    assert asked[3].result() == "4"
    assert Queue(slow.answer).run(7, 0) == "7"
