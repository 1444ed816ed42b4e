"""Group commit: writes that arrive together share one transaction, and one wait for the disk.

Each write waits for the queue's lock. Whoever gets it first leads: it runs all waiting writes, each in a savepoint
of its own, and commits once. The others find themselves answered.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import apsw

from services.runtime.errors import DataApiError

Result = TypeVar("Result")


@dataclass(slots=True)
class _Waiting(Generic[Result]):
    write: Callable[[], Result]
    future: "Future[Result]" = field(default_factory=Future)


class WriteQueue:
    """The writes of one connection. `committed` is called with their results, in order, before they are answered.

    `rolled_back` is called when a write, or the whole transaction, was undone.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        committed: Callable[[Sequence[Any]], None],
        rolled_back: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._committed = committed
        self._rolled_back = rolled_back
        self._leading = threading.Lock()
        self._waiting: list[_Waiting[Any]] = []
        self._arriving = threading.Lock()

    def run(self, write: Callable[[], Result]) -> Result:
        """Run a write in a transaction and return its result once that is durable.

        Raises what the write raises, its own changes then undone; `FAILED_WRITE_REQUEST` when the transaction
        could not be committed, everything then undone.
        """
        mine = _Waiting(write)
        with self._arriving:
            self._waiting.append(mine)
        with self._leading:
            if not mine.future.done():
                with self._arriving:
                    batch, self._waiting = self._waiting, []
                self._commit(batch)
        return mine.future.result()

    def _commit(self, batch: Sequence[_Waiting[Any]]) -> None:
        outcomes: list[tuple[_Waiting[Any], Any]] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for waiting in batch:
                outcome = self._attempt(waiting)
                if outcome is not None:
                    outcomes.append((waiting, outcome[0]))
            self._connection.execute("COMMIT")
        except apsw.Error as problem:
            self._undo(batch, problem)
            return
        try:
            self._committed([result for _, result in outcomes])
        finally:
            for waiting, result in outcomes:
                waiting.future.set_result(result)

    def _attempt(self, waiting: _Waiting[Any]) -> tuple[Any] | None:
        """Run one write in a savepoint; None when it failed, its error answered and its changes undone."""
        self._connection.execute("SAVEPOINT one")
        try:
            result = waiting.write()
        except apsw.Error:
            raise
        except Exception as problem:  # noqa: BLE001 - answered to whoever asked for the write
            self._connection.execute("ROLLBACK TO one; RELEASE one")
            self._rolled_back()
            waiting.future.set_exception(problem)
            return None
        self._connection.execute("RELEASE one")
        return (result,)

    def _undo(self, batch: Sequence[_Waiting[Any]], problem: apsw.Error) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._rolled_back()
        for waiting in batch:
            if not waiting.future.done():
                waiting.future.set_exception(DataApiError("FAILED_WRITE_REQUEST", problem=str(problem)))
