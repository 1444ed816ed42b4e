"""How many log lines of a kind are written: under overload everything is slow, and telling it must not slow it more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

Clock = Callable[[], float]

#: Lines a second of a kind that only says that something was slow.
SLOW_LINES = 10


class LineRate:
    """Lets so many lines of a kind through in each second, and counts the others. Safe to use from many threads."""

    def __init__(self, most: int = SLOW_LINES, clock: Clock = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._second_ends = -float("inf")
        self._written = self._omitted = 0

    def take(self) -> dict[str, int] | None:
        """Return what a line that is written says more: `omitted`, how many were not since the last one, if any.

        None for a line that is not to be written.
        """
        with self._lock:
            now = self._clock()
            if now >= self._second_ends:
                self._second_ends, self._written = now + 1, 0
            if self._written >= self._most:
                self._omitted += 1
                return None
            self._written += 1
            omitted, self._omitted = self._omitted, 0
            return {"omitted": omitted} if omitted else {}
