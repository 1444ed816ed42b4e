"""A lock that many readers or one writer hold."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager


class _Reading(AbstractContextManager[None]):
    """What readers of a lock are in, all of them in this one object: every search takes two such locks."""

    def __init__(self, begin: Callable[[], None], end: Callable[[], None]) -> None:
        self._begin, self._end = begin, end

    def __enter__(self) -> None:
        self._begin()

    def __exit__(self, *_: object) -> None:
        self._end()


class ReadWriteLock:
    """Readers share it, a writer has it alone; neither can keep the other out.

    A waiting writer goes before readers that come after it; when it is done, those that waited meanwhile go before
    the next writer.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._readers = 0
        self._writing = False
        self._writers_waiting = 0
        # Writers so far; readers that wait; and those of them that waited for a writer which is done.
        self._turn = 0
        self._readers_waiting = 0
        self._readers_due = 0
        self._reading = _Reading(self._begin_reading, self._end_reading)

    def reading(self) -> AbstractContextManager[None]:
        """Hold the lock with other readers."""
        return self._reading

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock alone."""
        with self._condition:
            self._writers_waiting += 1
            self._condition.wait_for(lambda: not (self._writing or self._readers or self._readers_due))
            self._writers_waiting -= 1
            self._writing = True
        try:
            yield
        finally:
            with self._condition:
                self._writing = False
                self._turn += 1
                self._readers_due += self._readers_waiting
                self._readers_waiting = 0
                self._condition.notify_all()

    def _begin_reading(self) -> None:
        with self._condition:
            if self._writing or self._writers_waiting:
                self._wait_to_read()
            self._readers += 1

    def _end_reading(self) -> None:
        with self._condition:
            self._readers -= 1
            if not self._readers and self._writers_waiting:
                self._condition.notify_all()

    def _wait_to_read(self) -> None:
        arrived = self._turn
        self._readers_waiting += 1
        self._condition.wait_for(lambda: not self._writing and (self._turn != arrived or not self._writers_waiting))
        if self._turn != arrived:
            self._readers_due -= 1
        else:
            self._readers_waiting -= 1
