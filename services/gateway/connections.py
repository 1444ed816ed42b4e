"""Connections of the HTTP port that nobody uses: they are closed, so that they cannot keep others out.

The HTTP server takes so many connections and no more, and a caller that opens one and sends nothing, or never ends what
it began, would hold its place for ever. So every connection of this process is looked at now and then, whatever
protocol it speaks.
"""

import asyncio
import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Where an operating system shows a process its open files.
_FILES = Path("/proc/self/fd") if Path("/proc/self/fd").is_dir() else Path("/dev/fd")
#: How often connections are looked at within the time that they may be idle.
_LOOKS = 4


@dataclass(slots=True)
class Use:
    """Requests of one caller's port: how many are under way, and when the last one ended."""

    requests: int = 0
    ended: float = 0.0

    def end(self) -> None:
        """Count a request as answered."""
        self.requests -= 1
        self.ended = time.monotonic()


class Connections:
    """The connections that were accepted at a port, and which of them have requests under way.

    A connection is known by its caller's port. Callers on several hosts that have the same one are taken for one, so
    some idle connections stay longer, and none is closed too early.
    """

    def __init__(self, port: int, idle_seconds: float) -> None:
        self._port = port
        self._idle_seconds = idle_seconds
        self._uses: dict[int, Use] = {}
        #: When a connection was first seen, by the number of its socket.
        self._seen: dict[int, float] = {}

    def begin(self, caller_port: int) -> Use:
        """Count a request of a caller as under way, until what is returned is told to `end`."""
        use = self._uses.get(caller_port)
        if use is None:
            use = self._uses[caller_port] = Use()
        use.requests += 1
        return use

    async def watch(self) -> None:
        """Close idle connections, until it is cancelled."""
        while True:
            await asyncio.sleep(self._idle_seconds / _LOOKS)
            self.sweep()

    def sweep(self) -> int:
        """Close the connections that are idle for too long and return how many."""
        now, closed = time.monotonic(), 0
        seen: dict[int, float] = {}
        ports: set[int] = set()
        for number, caller_port, connection in self._open():
            with connection:
                first = seen[number] = self._seen.get(number, now)
                ports.add(caller_port)
                use = self._uses.get(caller_port)
                if use is None or not use.requests:
                    since = first if use is None else max(first, use.ended)
                    if now - since > self._idle_seconds:
                        connection.shutdown(socket.SHUT_RDWR)
                        closed += 1
        self._seen = seen
        self._uses = {port: use for port, use in self._uses.items() if use.requests or port in ports}
        return closed

    def _open(self) -> Iterator[tuple[int, int, socket.socket]]:
        """Yield number, caller's port and a handle of its own for every connection."""
        for file in _FILES.iterdir():
            try:
                held = os.dup(int(file.name))
            except (OSError, ValueError):  # it has been closed meanwhile
                continue
            found = os.fstat(held)
            if not stat.S_ISSOCK(found.st_mode):
                os.close(held)
                continue
            connection = socket.socket(fileno=held)
            try:
                mine = connection.family in (socket.AF_INET, socket.AF_INET6) and (
                    connection.getsockname()[1] == self._port
                )
                caller = connection.getpeername()
            except OSError:  # it listens, or is not connected any more
                mine, caller = False, ()
            if mine:
                yield found.st_ino, caller[1], connection
            else:
                connection.close()
