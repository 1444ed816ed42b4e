"""The body of a request: how long it may be and how long it may take, and its parts as they come."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.gateway.settings import HttpSettings

Receive = Callable[[], Awaitable[Mapping[str, Any]]]

_BAD_REQUEST, _TIMEOUT = 400, 408
#: How long the next part of a body that is read in vain is waited for, in seconds.
_DISCARD_SECONDS = 0.5


class BodyTooLargeError(Exception):
    """A body over the limit: answered 413 without an envelope."""


class IncompleteBodyError(Exception):
    """A body that did not come whole: too slowly, or not at all. `status` is that of the answer."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the body did not come whole ({status})")


class Deadlines:
    """Waits that end when they last too long: one timer for all of them, for one of its own costs each request more.

    Whether any is late is looked at every `look_seconds`.
    """

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


class Body:
    """The body of one request, whose every part has to come in time.

    Reading it raises `IncompleteBodyError` where a part does not. A body whose length is declared is whole with its
    last byte: to ask for its end as well would cost another way through the HTTP server's threads.
    """

    __slots__ = ("_bytes", "_deadlines", "_declared", "_expects", "_receive", "_settings", "_started", "_whole")

    def __init__(
        self, receive: Receive, headers: Mapping[bytes, bytes], settings: HttpSettings, deadlines: Deadlines
    ) -> None:
        declared = headers.get(b"content-length", b"")
        # Chunks count before a length (RFC 9112, 6.3).
        self._declared = int(declared) if declared.isdigit() and b"transfer-encoding" not in headers else None
        self._expects = b"expect" in headers
        self._receive = receive
        self._settings = settings
        self._deadlines = deadlines
        self._started = time.monotonic()
        self._bytes = 0
        self._whole = self._declared == 0

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises `BodyTooLargeError` for one of more bytes than `limit`, as soon as it can."""
        if self._declared is not None and self._declared > limit:
            raise BodyTooLargeError
        parts: list[bytes] = []
        while not self._whole:
            parts.append(await self._part())
            if self._bytes > limit:
                raise BodyTooLargeError
        return b"".join(parts)

    async def discard(self) -> bool:
        """Read what a caller still sends in vain, and return whether it came to its end.

        The HTTP server closes a connection whose request was answered before its body had come, and says nothing of it:
        a caller that sends at that time never sees the answer, and one that sends its next request is not answered.

        Reading ends when so many bytes have come as the settings say, or nothing for a while. A caller that expects to
        be told whether to send a body (`Expect: 100-continue`) is answered at once.
        """
        while not self._whole and self._bytes <= self._settings.discard_bytes and not self._expects:
            try:
                await asyncio.wait_for(self._part(), _DISCARD_SECONDS)
            except (TimeoutError, IncompleteBodyError):
                break
        return self._whole

    async def _part(self) -> bytes:
        now, longest = time.monotonic(), self._settings.body_seconds
        last = self._started + longest + self._bytes / self._settings.body_bytes_per_second
        try:
            event = await self._deadlines.wait(self._receive, min(now + longest, last))
        except TimeoutError:
            raise IncompleteBodyError(_TIMEOUT) from None
        if event["type"] == "http.disconnect":
            raise IncompleteBodyError(_BAD_REQUEST)
        part: bytes = event.get("body", b"")
        self._bytes += len(part)
        self._whole = self._bytes == self._declared or not event.get("more_body")
        return part
