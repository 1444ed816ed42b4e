"""Raw bytes to and from an HTTP port, for requests that no client library would send."""

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heard:
    """What came back on a connection: its bytes, whether the server closed it, and after how many seconds."""

    content: bytes
    closed: bool
    seconds: float

    @property
    def statuses(self) -> list[int]:
        """The status of every answer."""
        return [int(part[:3]) for part in self.content.split(b"HTTP/1.1 ")[1:]]


def send(port: int, *parts: bytes, pause: float = 0.0, seconds: float = 10.0) -> Heard:
    """Send parts with pauses between them, then listen until the server closes or `seconds` are over."""
    started = time.monotonic()
    heard: list[bytes] = []
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        closed = _send_slowly(connection, parts, pause, heard)
        while not closed and (left := started + seconds - time.monotonic()) > 0:
            connection.settimeout(left)
            closed = _hear(connection, heard)
    return Heard(b"".join(heard), closed, time.monotonic() - started)


def _send_slowly(connection: socket.socket, parts: Sequence[bytes], pause: float, heard: list[bytes]) -> bool:
    """Send parts and return whether the server closed meanwhile."""
    for position, part in enumerate(parts):
        try:
            connection.sendall(part)
        except OSError:
            return True
        if pause and position < len(parts) - 1:
            connection.settimeout(pause)
            if _hear(connection, heard):
                return True
    return False


def _hear(connection: socket.socket, heard: list[bytes]) -> bool:
    """Listen until something comes or time is over; return whether the server closed."""
    try:
        content = connection.recv(65536)
    except TimeoutError:
        return False
    except OSError:
        return True
    heard.append(content)
    return not content
