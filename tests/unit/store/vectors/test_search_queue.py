"""Searches that arrive while another is under way are answered together by the next call."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.store.vectors.index import Nearest
from services.store.vectors.search_queue import SearchQueue
from services.store.vectors.similarity import Vectors


class Slow:
    """Answers each query with its own number; the first call waits until it is let go."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], int]] = []
        self.started, self.go = threading.Event(), threading.Event()

    def search(self, queries: Vectors, limit: int) -> list[Nearest]:
        self.calls.append(([int(query[0]) for query in queries], limit))
        self.started.set()
        assert self.go.wait(10)
        if (queries < 0).any():
            raise ValueError("no such query")
        return [Nearest(np.array([int(query[0])]), np.ones(1, np.float32)) for query in queries]


def ask(queue: SearchQueue, slow: Slow, number: int, limit: int = 3) -> int:
    return int(queue.run(np.array([number], np.float32), limit, slow.search).positions[0])


def test_those_that_wait_are_searched_by_one_call_and_each_has_its_own_answer() -> None:
    queue, slow = SearchQueue(), Slow()
    with ThreadPoolExecutor(12) as threads:
        first = threads.submit(ask, queue, slow, 1)
        assert slow.started.wait(10)
        others = [threads.submit(ask, queue, slow, number) for number in range(2, 12)]
        while len(queue._waiting) < 10:
            pass
        slow.go.set()
        assert [first.result(10), *(other.result(10) for other in others)] == list(range(1, 12))
    assert len(slow.calls) == 2
    assert sorted(slow.calls[1][0]) == list(range(2, 12))


def test_searches_for_different_numbers_are_not_mixed() -> None:
    queue, slow = SearchQueue(), Slow()
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(ask, queue, slow, 1)
        assert slow.started.wait(10)
        others = [threads.submit(ask, queue, slow, number, number) for number in (5, 5, 9, 9)]
        while len(queue._waiting) < 4:
            pass
        slow.go.set()
        assert [first.result(10), *(other.result(10) for other in others)] == [1, 5, 5, 9, 9]
    assert sorted(slow.calls[1:]) == [([5, 5], 5), ([9, 9], 9)]


def test_an_error_is_told_to_all_that_were_searched_together_and_the_next_goes_on() -> None:
    queue, slow = SearchQueue(), Slow()
    slow.go.set()
    with pytest.raises(ValueError, match="no such query"):
        ask(queue, slow, -1)
    assert ask(queue, slow, 4) == 4
