"""What the connections of the HTTP port have in common, and what the port asks of each."""

import array
import asyncio
import fcntl
import termios
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.gateway.exchange import Respond
from services.gateway.http.requests import Clock
from services.gateway.settings import HttpSettings


class Connection(Protocol):
    """One connection, whatever version of HTTP it speaks."""

    def look(self, now: float) -> None:
        """End what takes too long, in the time of `time.monotonic`: the connection, or a request."""

    def retire(self) -> None:
        """Have the caller use another connection after the next answer."""

    def finish(self) -> None:
        """Answer the requests that are under way, take no others, and close."""

    def abort(self) -> None:
        """Close at once."""


def address_of(transport: asyncio.BaseTransport) -> str:
    """Return the caller's address, empty where there is none."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes of answers a caller has not taken: when it takes some, their number changes."""
    unsent = transport.get_write_buffer_size()
    if transport.get_extra_info("ssl_object") is None:
        return unsent
    # What TLS has handed on its transport does not tell. While there is any, the system has some of it.
    queued = array.array("i", [0])
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
    except OSError:  # it is just being closed
        return unsent
    return unsent + queued[0]


@dataclass(slots=True)
class Serving:
    """What every connection of a port works with. `ended` is told of each one that has closed."""

    application: Respond
    settings: HttpSettings
    ended: Callable[[], None]
    clock: Clock = field(default_factory=Clock)
    connections: set[Connection] = field(default_factory=set)
    #: While it is set, answers tell their callers to use another connection for the next request.
    draining: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin a work of its own, and keep it until it is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def left(self, connection: Connection) -> None:
        """Forget a connection that has closed."""
        self.connections.discard(connection)
        self.ended()
