"""How much of a body is read, when it is whole, and when it is late."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import pytest

from services.gateway.http.body import Body, BodyTooLargeError, IncompleteBodyError
from services.gateway.settings import HttpSettings

T = TypeVar("T")
#: So often the event loop has its turn before whoever reads waits for the next part.
_TURNS = 8


class Sender:
    """A caller that sends the next part whenever the one before has been taken; `sent` counts them."""

    def __init__(
        self, *parts: bytes, declared: int | None = None, expects: bool = False, ended: bool = False, fails: int = 0
    ) -> None:
        self._parts = parts
        self._ended = ended
        self._fails = fails
        self.sent = self.asked = 0
        self.body = Body(HttpSettings(discard_bytes=6), declared, expects, self._ask)

    def _ask(self) -> None:
        self.asked += 1

    def run(self, read: Callable[[Body], Awaitable[T]]) -> T:
        """Return what reading the body gives, while it comes."""

        async def scenario() -> T:
            reading = asyncio.ensure_future(read(self.body))
            await asyncio.sleep(0)
            while self.sent < len(self._parts) and not reading.done():
                self.sent += 1
                self.body.feed(self._parts[self.sent - 1])
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
            if self._ended:
                self.body.end()
            if self._fails:
                self.body.fail(self._fails)
            return await asyncio.wait_for(reading, 30)

        return asyncio.run(scenario())

    def read(self, limit: int) -> bytes:
        return self.run(lambda body: body.read(limit))


@pytest.mark.parametrize("parts", [(), (b"abcd",), (b"ab", b"", b"cd")])
def test_a_body_is_its_parts(parts: Sequence[bytes]) -> None:
    assert Sender(*parts, ended=True).read(4) == b"".join(parts)


def test_nothing_is_waited_for_where_nothing_is_declared_to_come() -> None:
    sender = Sender(declared=0)
    assert sender.read(4) == b""
    assert sender.asked == 0


def test_the_connection_is_asked_once_for_what_is_read() -> None:
    sender = Sender(b"ab", ended=True)
    sender.read(4)
    assert sender.read(4) == b"ab"
    assert sender.asked == 1


def test_a_body_that_is_declared_too_long_is_not_read() -> None:
    sender = Sender(b"abcde", declared=5)
    with pytest.raises(BodyTooLargeError):
        sender.read(4)
    assert (sender.sent, sender.asked) == (0, 0)


def test_a_body_that_becomes_too_long_is_read_no_further() -> None:
    sender = Sender(*[b"ab"] * 9)
    with pytest.raises(BodyTooLargeError):
        sender.read(5)
    assert sender.sent == 3


def test_what_fails_before_its_end_is_not_whole_whatever_comes_after() -> None:
    sender = Sender(b"ab", fails=408)
    with pytest.raises(IncompleteBodyError) as caught:
        sender.read(4)
    assert caught.value.status == 408
    sender.body.end()
    assert not sender.body.whole


@pytest.mark.parametrize(
    ("sender", "sent", "whole"),
    [
        (Sender(*[b"ab"] * 9), 4, False),
        (Sender(b"ab", b"ab", declared=4, ended=True), 2, True),
        (Sender(declared=0), 0, True),
        (Sender(b"ab", declared=99, expects=True), 0, False),
        (Sender(b"ab", declared=5), 1, False),
        (Sender(b"ab", declared=5, fails=400), 1, False),
    ],
    ids=["too long", "whole", "empty", "not to be sent yet", "not coming", "broken off"],
)
def test_what_is_not_wanted_is_read_to_its_end_or_so_far(sender: Sender, sent: int, whole: bool) -> None:
    assert sender.run(lambda body: body.discard()) is whole
    assert sender.sent == sent


def test_a_body_is_late_when_a_part_or_the_whole_takes_too_long() -> None:
    settings = HttpSettings(body_seconds=10.0, body_bytes_per_second=10)
    body = Body(settings, None, False, lambda: None)
    now = time.monotonic()
    assert [body.late(now + seconds) for seconds in (9, 11)] == [False, True]
    # Fifty bytes give the whole five seconds more, and the next part ten.
    body.feed(b"x" * 50)
    assert [body.late(now + seconds) for seconds in (9, 11)] == [False, True]
    # What kept the caller from sending is not its fault.
    body.restart()
    assert not body.late(time.monotonic() + 9)
    body.end()
    assert not body.late(now + 100)
