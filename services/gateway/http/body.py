"""The body of a request: how long it may be and how long it may take, and its parts as they come."""

import asyncio
import time
from collections.abc import Callable

from services.gateway.settings import HttpSettings

BAD_REQUEST, TIMEOUT = 400, 408
#: How long the next part of a body that is read in vain is waited for, in seconds.
_DISCARD_SECONDS = 0.5


class BodyTooLargeError(Exception):
    """A body over the limit: answered 413 without an envelope."""


class IncompleteBodyError(Exception):
    """A body that did not come whole: too slowly, or not at all. `status` is that of the answer."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the body did not come whole ({status})")


class Body:
    """The body of one request. Its connection brings the parts (`feed`, `end`, `fail`), one reader takes them.

    `declared` is the length that the caller declared, None where it declared none. `expects` is set for a caller that
    sends a body only when it is told to. `wanted` is called when somebody begins to read: until then the connection
    need not bring more than it likes.
    """

    __slots__ = (
        "_declared",
        "_expects",
        "_failed",
        "_first",
        "_most",
        "_moved",
        "_rest",
        "_settings",
        "_started",
        "_waiting",
        "_wanted",
        "received",
        "wanted",
        "whole",
    )

    def __init__(self, settings: HttpSettings, declared: int | None, expects: bool, wanted: Callable[[], None]) -> None:
        self._settings = settings
        self._declared = declared
        self._expects = expects
        self._wanted = wanted
        # Most bodies are one part, which is handed on as it is; many small ones take no more room than their bytes.
        self._first = b""
        self._rest = bytearray()
        #: The reader looks again when there is more than this.
        self._most = 0
        self._failed: int | None = None
        self._waiting: asyncio.Future[None] | None = None
        self.restart()
        #: How many bytes have come, whether all have, and whether somebody reads them.
        self.received = 0
        self.whole = declared == 0
        self.wanted = False

    def restart(self) -> None:
        """Have the time begin that the body may take: until now its caller was kept from sending."""
        self._started = self._moved = time.monotonic()

    def feed(self, part: bytes) -> None:
        """Take the next part."""
        self.received += len(part)
        if not self._first:
            self._first = part
        else:
            self._rest += part
        self._moved = time.monotonic()
        if self.received > self._most:
            self._wake()

    def end(self) -> None:
        """Take it that all parts have come, if not too late."""
        if self._failed is None:
            self.whole = True
            self._wake()

    def fail(self, status: int) -> None:
        """Take it that no more parts come: whoever reads gets `IncompleteBodyError`."""
        if not self.whole and self._failed is None:
            self._failed = status
            self._wake()

    def late(self, now: float) -> bool:
        """Tell whether the next part, or the whole, has been waited for too long, in the time of `time.monotonic`."""
        longest = self._settings.body_seconds
        last = self._started + longest + self.received / self._settings.body_bytes_per_second
        return not self.whole and now > min(self._moved + longest, last)

    async def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises `BodyTooLargeError` for one of more bytes than `limit`, as soon as it can, and `IncompleteBodyError`.
        """
        if self._declared is not None and self._declared > limit:
            raise BodyTooLargeError
        self._want()
        while not self.whole and self._failed is None and self.received <= limit:
            await self._more_than(limit)
        if self._failed is not None:
            raise IncompleteBodyError(self._failed)
        if self.received > limit:
            raise BodyTooLargeError
        return self._first + self._rest if self._rest else self._first

    async def discard(self) -> bool:
        """Read what a caller still sends in vain, and return whether it came to its end.

        A connection on which a body is not read to its end can be used for nothing else, and a caller that still sends
        when it is closed never sees the answer.

        Reading ends when so many bytes have come as the settings say, or nothing for a while. A caller that waits to be
        told whether to send a body (`Expect: 100-continue`) is answered at once.
        """
        if self.whole or (self._expects and not self.wanted):
            return self.whole
        self._want()
        while not self.whole and self._failed is None and self.received <= self._settings.discard_bytes:
            self._first, self._rest = b"", bytearray()
            try:
                await asyncio.wait_for(self._more_than(self.received), _DISCARD_SECONDS)
            except TimeoutError:
                break
        return self.whole

    def _want(self) -> None:
        if not self.wanted:
            self.wanted = True
            if not self.whole:
                self.restart()
                self._wanted()

    async def _more_than(self, received: int) -> None:
        """Wait until more bytes than these have come, or no more will."""
        self._most = received
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
