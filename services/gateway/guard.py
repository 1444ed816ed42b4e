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
#: How often it is looked whether parts of bodies are late, in seconds; oftener where they have less time than that.
_LOOK_SECONDS, _LOOKS = 0.1, 20
#: Instead of what serves it, and in which version.
_SERVER = (b"server", b"orrery")
_CLOSING = (_SERVER, (b"connection", b"close"))

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
        self._deadlines = _Deadlines(min(_LOOK_SECONDS, settings.body_seconds / _LOOKS))
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        answer = _Answer(send, closing=self.draining and scope["http_version"].startswith("1"))
        use = self._connections.begin(int(scope["client"][1]))
        try:
            if is_clear(scope):
                body = _Body(receive, _declared_bytes(scope), self._settings, self._deadlines)
                await self._application(scope, body.receive, answer.send)
            else:
                await answer.alone(_BAD_REQUEST)
        except IncompleteBodyError as problem:
            log.info("request ended early", status=problem.status)
            await answer.alone(problem.status)
        finally:
            use.end()


def is_clear(scope: Scope) -> bool:
    """Tell whether a request means the same to everybody: one host, no control characters in its path."""
    headers = scope["headers"]
    found = dict(headers)
    # Few requests have any header twice, and only those are looked at one header at a time.
    if len(found) != len(headers):
        once = [name for name, _ in headers if name in _ONCE]
        if len(set(once)) != len(once):
            return False
    if scope["http_version"] == "1.1" and not found.get(b"host"):
        return False
    return _CONTROL.search(scope["path"]) is None


def _declared_bytes(scope: Scope) -> int | None:
    """Return how long a body is, where its head says so."""
    headers = dict(scope["headers"])
    declared: bytes = headers.get(b"content-length", b"")
    # Chunks count before a length (RFC 9112, 6.3).
    return int(declared) if declared.isdigit() and b"transfer-encoding" not in headers else None


class _Deadlines:
    """Waits that end when they last too long: one timer for all of them, for one of its own costs each request more."""

    def __init__(self, look_seconds: float) -> None:
        self._look_seconds = look_seconds
        self._waiting: set[_Wait] = set()
        self._looking = False

    async def wait(self, receive: Receive, deadline: float) -> Mapping[str, Any]:
        """Return what is received. Raises `TimeoutError` soon after the deadline, in the time of `time.monotonic`."""
        task = asyncio.current_task()
        assert task is not None
        wait = _Wait(task, deadline)
        self._waiting.add(wait)
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(self._look_seconds, self._look)
        try:
            return await receive()
        except asyncio.CancelledError:
            # It may be somebody else who cancelled the task.
            if wait.late and task.uncancel() <= wait.cancelled_before:
                raise TimeoutError from None
            raise
        finally:
            self._waiting.discard(wait)

    def _look(self) -> None:
        now = time.monotonic()
        for wait in self._waiting:
            if wait.deadline <= now and not wait.late:
                wait.end()
        self._looking = bool(self._waiting)
        if self._looking:
            asyncio.get_running_loop().call_later(self._look_seconds, self._look)


class _Wait:
    """A task that waits until a deadline."""

    __slots__ = ("_task", "cancelled_before", "deadline", "late")

    def __init__(self, task: asyncio.Task[Any], deadline: float) -> None:
        self._task = task
        self.deadline = deadline
        self.late = False
        self.cancelled_before = 0

    def end(self) -> None:
        """Have the wait end."""
        self.late, self.cancelled_before = True, self._task.cancelling()
        self._task.cancel()


class _Body:
    """The parts of a request's body, each of which has to come in time.

    The part that ends a body of a length that was `declared` is the last one: to ask for the end as well would cost
    another way through the HTTP server's threads.
    """

    __slots__ = ("_bytes", "_deadlines", "_declared", "_receive", "_settings", "_started", "_whole")

    def __init__(self, receive: Receive, declared: int | None, settings: HttpSettings, deadlines: _Deadlines) -> None:
        self._receive = receive
        self._declared = declared
        self._settings = settings
        self._deadlines = deadlines
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
            event = await self._deadlines.wait(self._receive, min(now + longest, last))
        except TimeoutError:
            raise IncompleteBodyError(_TIMEOUT) from None
        if event["type"] == "http.disconnect":
            raise IncompleteBodyError(_BAD_REQUEST)
        self._bytes += len(event.get("body", b""))
        self._whole = self._bytes == self._declared or not event.get("more_body")
        return {**event, "more_body": not self._whole}


class _Answer:
    """The answer to a request; `closing` makes it the last one of its connection."""

    __slots__ = ("_closing", "_send", "_started")

    def __init__(self, send: Send, *, closing: bool) -> None:
        self._send = send
        self._closing = closing
        self._started = False

    async def send(self, event: dict[str, Any]) -> None:
        """Send a part of the answer."""
        if event["type"] == "http.response.start":
            self._started = True
            more = _CLOSING if self._closing else (_SERVER,)
            event = {**event, "headers": [*event.get("headers", ()), *more]}
        await self._send(event)

    async def alone(self, status: int) -> None:
        """Send a status with nothing else and close the connection, unless an answer is on its way."""
        if not self._started:
            self._closing = True
            await self.send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
            await self.send({"type": "http.response.body", "body": b""})
