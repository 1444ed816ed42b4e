"""Group commit: who waits together commits together, and nobody pays for another's failure."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest

from services.runtime.errors import DataApiError
from services.store.write_queue import QueueClosedError, WriteQueue
from services.store.writer import Writer


class Log:
    """A table of numbers with a queue in front, and what the queue said about it."""

    def __init__(self, path: Path) -> None:
        self.file = Writer(path, create=True)
        self.connection = self.file.connection
        self.connection.execute("CREATE TABLE numbers (number INTEGER)")
        self.transactions: list[list[Any]] = []
        self.rollbacks = 0
        self.queue = WriteQueue(self.file, self._committed, self._rolled_back)

    def _committed(self, results: Sequence[Any]) -> None:
        self.transactions.append(list(results))

    def _rolled_back(self) -> None:
        self.rollbacks += 1

    def adding(self, number: int) -> Callable[[], int]:
        """Return a write that adds a number and returns it."""

        def write() -> int:
            self.connection.execute("INSERT INTO numbers VALUES (?)", (number,))
            return number

        return write

    def failing(self, number: int) -> Callable[[], int]:
        """Return a write that adds a number and then fails."""

        def write() -> int:
            self.adding(number)()
            raise LookupError(f"no {number}")

        return write

    def numbers(self) -> list[int]:
        return [number for (number,) in self.connection.execute("SELECT number FROM numbers ORDER BY number")]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log.db")


def run_together(log: Log, writes: Sequence[tuple[Callable[[], int], bool]]) -> list["Future[int]"]:
    """Run writes that all arrive, in order, while another one is under way."""
    entered, leave = threading.Event(), threading.Event()

    def slow() -> int:
        entered.set()
        assert leave.wait(10)
        return 0

    with ThreadPoolExecutor(len(writes) + 1) as threads:
        leader = threads.submit(log.queue.run, slow)
        assert entered.wait(10)
        futures = []
        for number, (write, first) in enumerate(writes, start=1):
            futures.append(threads.submit(log.queue.run, write, first=first))
            while len(log.queue._waiting) < number:
                assert not futures[-1].done()
        leave.set()
        assert leader.result(10) == 0
    return futures


def test_a_write_is_committed_and_answered(log: Log) -> None:
    assert log.queue.run(log.adding(5)) == 5
    assert log.numbers() == [5]
    assert log.transactions == [[5]]


def test_writes_that_wait_share_a_transaction(log: Log) -> None:
    futures = run_together(log, [(log.adding(number), False) for number in (1, 2, 3)])

    assert [future.result() for future in futures] == [1, 2, 3]
    assert log.transactions == [[0], [1, 2, 3]]


def test_a_write_that_has_to_be_first_begins_a_transaction(log: Log) -> None:
    run_together(log, [(log.adding(1), False), (log.adding(2), True), (log.adding(3), False), (log.adding(4), True)])

    assert log.transactions == [[0], [1], [2, 3], [4]]


def test_a_write_that_fails_is_undone_alone(log: Log) -> None:
    futures = run_together(log, [(log.adding(1), False), (log.failing(2), False), (log.adding(3), False)])

    assert futures[0].result() == 1
    assert futures[2].result() == 3
    with pytest.raises(LookupError, match="no 2"):
        futures[1].result()
    assert log.numbers() == [1, 3]
    assert log.rollbacks == 1


def test_a_full_disk_undoes_everything_and_tells_everybody(log: Log) -> None:
    pages = next(int(count) for (count,) in log.connection.execute("PRAGMA page_count"))
    log.connection.execute(f"PRAGMA max_page_count = {pages}")

    def too_much() -> int:
        log.connection.execute(
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 9999) "
            "INSERT INTO numbers SELECT x FROM n"
        )
        return 2

    futures = run_together(log, [(log.adding(1), False), (too_much, False), (log.adding(3), False)])

    for future in futures:
        with pytest.raises(DataApiError, match="full") as failed:
            future.result()
        assert failed.value.code == "FAILED_WRITE_REQUEST"
    assert log.numbers() == []
    assert log.transactions == [[0]]
    assert log.queue.run(log.adding(4)) == 4


def test_a_closed_queue_takes_nothing(log: Log) -> None:
    log.queue.close()

    with pytest.raises(QueueClosedError):
        log.queue.run(log.adding(1))
    with pytest.raises(apsw.ConnectionClosedError):
        log.numbers()


def test_many_threads_lose_nothing(log: Log) -> None:
    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda number: log.queue.run(log.adding(number)), range(400)))

    assert results == list(range(400))
    assert log.numbers() == list(range(400))
