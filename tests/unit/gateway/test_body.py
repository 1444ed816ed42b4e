"""How much of a body is read, and when it is whole."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from services.gateway.body import Body, BodyTooLargeError, Deadlines, IncompleteBodyError
from services.gateway.settings import HttpSettings


class Sender:
    """What a caller sends, part by part; `sent` counts them, and after the last one nothing comes any more."""

    def __init__(self, *parts: bytes, ended: bool = False) -> None:
        self._parts = parts
        self._ended = ended
        self.sent = 0

    async def receive(self) -> Mapping[str, Any]:
        if self.sent < len(self._parts):
            self.sent += 1
            more = not self._ended or self.sent < len(self._parts)
            return {"type": "http.request", "body": self._parts[self.sent - 1], "more_body": more}
        await asyncio.sleep(3600)
        raise AssertionError

    def body(self, **headers: bytes) -> Body:
        """The body that comes with these headers, underscores standing for hyphens."""
        named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
        return Body(self.receive, named, HttpSettings(body_seconds=0.2, discard_bytes=6), Deadlines(0.01))


def test_a_body_is_its_parts() -> None:
    sender = Sender(b"ab", b"", b"cd", ended=True)
    assert asyncio.run(sender.body().read(4)) == b"abcd"


@pytest.mark.parametrize("headers", [{"content_length": b"4"}, {"content_length": b"4", "expect": b"100-continue"}])
def test_a_declared_length_ends_a_body(headers: dict[str, bytes]) -> None:
    assert asyncio.run(Sender(b"ab", b"cd").body(**headers).read(4)) == b"abcd"


def test_nothing_is_waited_for_where_nothing_is_declared_to_come() -> None:
    sender = Sender()
    assert asyncio.run(sender.body(content_length=b"0").read(4)) == b""


@pytest.mark.parametrize("headers", [{}, {"transfer_encoding": b"chunked", "content_length": b"2"}])
def test_without_one_that_counts_it_ends_where_the_caller_says(headers: dict[str, bytes]) -> None:
    with pytest.raises(IncompleteBodyError):
        asyncio.run(Sender(b"ab").body(**headers).read(4))


def test_a_body_that_is_declared_too_long_is_not_read() -> None:
    sender = Sender(b"abcde")
    with pytest.raises(BodyTooLargeError):
        asyncio.run(sender.body(content_length=b"5").read(4))
    assert sender.sent == 0


def test_a_body_that_becomes_too_long_is_read_no_further() -> None:
    sender = Sender(*[b"ab"] * 9)
    with pytest.raises(BodyTooLargeError):
        asyncio.run(sender.body().read(5))
    assert sender.sent == 3


@pytest.mark.parametrize(
    ("headers", "sent", "whole"),
    [
        ({}, 4, False),
        ({"content_length": b"4"}, 2, True),
        ({"content_length": b"0"}, 0, True),
        ({"content_length": b"99", "expect": b"100-continue"}, 0, False),
    ],
)
def test_what_is_not_wanted_is_read_to_its_end_or_so_far(headers: dict[str, bytes], sent: int, whole: bool) -> None:
    sender = Sender(*[b"ab"] * 9)
    assert asyncio.run(sender.body(**headers).discard()) is whole
    assert sender.sent == sent


def test_what_is_not_wanted_and_does_not_come_is_not_waited_for() -> None:
    assert asyncio.run(Sender(b"ab").body(content_length=b"5").discard()) is False
