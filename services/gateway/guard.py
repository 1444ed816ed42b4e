"""What a request has to be before the application sees it, and how long its body may take: ASGI around ASGI.

The HTTP server refuses what is no HTTP: heads that are too large, doubtful lengths and chunks. Here is refused what is
HTTP and yet not clear, for two readers of it (this gateway, and a proxy before it) could take it for two things.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from services.gateway.connections import Connections
from services.gateway.settings import HttpSettings

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Headers that decide how a request is read, and so must not be there twice. (Of several tokens none is taken.)
_ONCE = frozenset((b"host", b"content-type", b"content-length"))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_REQUEST, _TIMEOUT = 400, 408

log = structlog.get_logger(__name__)


class IncompleteBodyError(Exception):
    """A body that did not come whole: too slowly, or not at all. `status` is that of the answer."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the body did not come whole ({status})")


class Guard:
    """An application that refuses unclear requests, bounds how long bodies take, and closes connections to drain.

    While `draining` is set, each answer tells its caller to use another connection for the next request.
    """

    def __init__(self, application: Asgi, settings: HttpSettings, connections: Connections) -> None:
        self._application = application
        self._settings = settings
        self._connections = connections
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        answer = _Answer(send, closing=self.draining and scope["http_version"].startswith("1"))
        use = self._connections.begin(int(scope["client"][1]))
        try:
            if is_clear(scope):
                await self._application(scope, _Body(receive, self._settings).receive, answer.send)
            else:
                await answer.alone(_BAD_REQUEST)
        except IncompleteBodyError as problem:
            log.info("request ended early", status=problem.status)
            await answer.alone(problem.status)
        finally:
            use.end()


def is_clear(scope: Scope) -> bool:
    """Tell whether a request means the same to everybody: one host, no control characters in its path."""
    found = dict[bytes, bytes]()
    for name, value in scope["headers"]:
        if name in _ONCE:
            if name in found:
                return False
            found[name] = value
    if scope["http_version"] == "1.1" and not found.get(b"host"):
        return False
    return _CONTROL.search(scope["path"]) is None


class _Body:
    """The parts of a request's body, each of which has to come in time."""

    def __init__(self, receive: Receive, settings: HttpSettings) -> None:
        self._receive = receive
        self._settings = settings
        self._started = time.monotonic()
        self._bytes = 0
        self._whole = False

    async def receive(self) -> Mapping[str, Any]:
        """Return the next part. Raises `IncompleteBodyError` when it does not come in time, or not at all."""
        if self._whole:
            return await self._receive()
        now, longest = time.monotonic(), self._settings.body_seconds
        last = self._started + longest + self._bytes / self._settings.body_bytes_per_second
        try:
            async with asyncio.timeout(min(longest, last - now)):
                event = await self._receive()
        except TimeoutError:
            raise IncompleteBodyError(_TIMEOUT) from None
        if event["type"] == "http.disconnect":
            raise IncompleteBodyError(_BAD_REQUEST)
        self._bytes += len(event.get("body", b""))
        self._whole = not event.get("more_body")
        return event


class _Answer:
    """The answer to a request; `closing` makes it the last one of its connection."""

    def __init__(self, send: Send, *, closing: bool) -> None:
        self._send = send
        self._closing = closing
        self._started = False

    async def send(self, event: dict[str, Any]) -> None:
        """Send a part of the answer."""
        if event["type"] == "http.response.start":
            self._started = True
            # Instead of what serves it, and in which version.
            more = [(b"server", b"orrery"), *([(b"connection", b"close")] if self._closing else ())]
            event = {**event, "headers": [*event.get("headers", ()), *more]}
        await self._send(event)

    async def alone(self, status: int) -> None:
        """Send a status with nothing else and close the connection, unless an answer is on its way."""
        if not self._started:
            self._closing = True
            await self.send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
            await self.send({"type": "http.response.body", "body": b""})
