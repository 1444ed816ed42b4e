"""Group commit: writes that arrive together share one transaction, and one wait for the disk.

Each write waits for the queue's lock. Whoever gets it first leads: it runs all waiting writes, each in a savepoint
of its own, and commits once. The others find themselves answered.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import apsw

from services.store.writer import Writer

Result = TypeVar("Result")


class QueueClosedError(Exception):
    """The queue takes no more writes."""


@dataclass(slots=True)
class _Waiting(Generic[Result]):
    write: Callable[[], Result]
    first: bool
    future: "Future[Result]" = field(default_factory=Future)


class WriteQueue:
    """The writes of one file. `committed` is called with their results, in order, before they are answered.

    `rolled_back` is called when a write, or the whole transaction, was undone, and `durable` with the number of writes
    of a commit and the seconds that the commit took.
    """

    def __init__(
        self,
        file: Writer,
        committed: Callable[[Sequence[Any]], None],
        rolled_back: Callable[[], None],
        durable: Callable[[int, float], None] = lambda writes, seconds: None,
    ) -> None:
        self._file = file
        self._committed = committed
        self._rolled_back = rolled_back
        self._durable = durable
        self._closed = False
        self._leading = threading.Lock()
        self._waiting: list[_Waiting[Any]] = []
        self._arriving = threading.Lock()

    def run(self, write: Callable[[], Result], *, first: bool = False) -> Result:
        """Run a write in a transaction and return its result once that is durable.

        `first` has it run with everything before it committed, so that it sees what `committed` made of that.

        Raises what the write raises, its own changes then undone; `FAILED_WRITE_REQUEST` when the transaction
        could not be committed, everything then undone, or the file takes no writes; `QueueClosedError` after
        `close`.
        """
        mine = _Waiting(write, first)
        with self._arriving:
            self._waiting.append(mine)
        with self._leading:
            if not mine.future.done():
                with self._arriving:
                    batch, self._waiting = self._waiting, []
                for group in _groups(batch):
                    self._commit(group)
        return mine.future.result()

    @contextmanager
    def held(self) -> Iterator[Writer]:
        """Hold all writes, those answered before being committed, and give what they go to, outside a transaction.

        Raises `QueueClosedError` after `close`.
        """
        with self._leading:
            if self._closed:
                raise QueueClosedError
            yield self._file

    def close(self) -> None:
        """Wait for the write under way, then refuse all others and close the connection."""
        with self._leading:
            if not self._closed:
                self._closed = True
                self._file.close()

    def _commit(self, batch: Sequence[_Waiting[Any]]) -> None:
        try:
            if self._closed:
                raise QueueClosedError
            self._file.check()
            outcomes = self._transaction(batch)
            self._committed([result for _, result in outcomes])
        except Exception as problem:  # noqa: BLE001 - answered to everybody who waits
            for waiting in batch:
                if not waiting.future.done():
                    waiting.future.set_exception(problem)
            return
        for waiting, result in outcomes:
            waiting.future.set_result(result)
        self._file.committed()

    def _transaction(self, batch: Sequence[_Waiting[Any]]) -> list[tuple[_Waiting[Any], Any]]:
        """Run writes and commit them; return the results of those that did not fail."""
        connection = self._file.connection
        committing = False
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [(waiting, result) for waiting in batch for result in self._attempt(waiting)]
            committing = True
            started = time.perf_counter()
            connection.execute("COMMIT")
            self._durable(len(outcomes), time.perf_counter() - started)
        except apsw.Error as problem:
            self._rolled_back()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise self._file.failed(problem, committing=committing) from problem
        return outcomes

    def _attempt(self, waiting: _Waiting[Any]) -> list[Any]:
        """Run one write in a savepoint; no result when it failed, its error answered and its changes undone."""
        self._file.connection.execute("SAVEPOINT one")
        try:
            result = waiting.write()
        except apsw.Error:
            raise
        except Exception as problem:  # noqa: BLE001 - answered to whoever asked for the write
            self._rolled_back()
            self._file.connection.execute("ROLLBACK TO one; RELEASE one")
            waiting.future.set_exception(problem)
            return []
        self._file.connection.execute("RELEASE one")
        return [result]


def _groups(batch: Sequence[_Waiting[Any]]) -> Iterator[list[_Waiting[Any]]]:
    """Yield writes in transactions: one that has to be first begins a new one."""
    group: list[_Waiting[Any]] = []
    for waiting in batch:
        if waiting.first and group:
            yield group
            group = []
        group.append(waiting)
    if group:
        yield group
