"""Bodies that come late or not at all end their requests, each its own and nobody else's."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from services.gateway.connections import Connections
from services.gateway.exchange import Request, Response
from services.gateway.guard import Guard, is_clear
from services.gateway.settings import HttpSettings

SCOPE: dict[str, Any] = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "client": ("127.0.0.1", 4000),
    "headers": [(b"host", b"a")],
}
PART = {"type": "http.request", "body": b"{}", "more_body": True}
LAST = {"type": "http.request", "body": b"", "more_body": False}


async def answering(request: Request) -> Response:
    """Read a body and answer 200."""
    await request.body.read(limit=1000)
    return Response(200)


class Caller:
    """A request whose parts come when they are told to."""

    def __init__(self, guard: Guard, *headers: tuple[bytes, bytes]) -> None:
        self.parts: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        scope = {**SCOPE, "headers": [*SCOPE["headers"], *headers]}
        self.task = asyncio.ensure_future(guard(scope, self.parts.get, self._send))

    async def _send(self, event: dict[str, Any]) -> None:
        self.sent.append(event)

    async def status(self) -> int:
        """Return the status of the answer, once it is there."""
        await self.task
        return int(self.sent[0]["status"])


async def refusing(request: Request) -> Response:
    """Answer 401, whatever the body is."""
    return Response(401)


def guard(body_seconds: float) -> Guard:
    return Guard(answering, HttpSettings(body_seconds=body_seconds), Connections(1, 60.0))


def test_late_bodies_end_and_others_go_on() -> None:
    async def scenario() -> None:
        guarded = guard(0.3)
        late = [Caller(guarded) for _ in range(3)]
        late[0].parts.put_nowait(PART)
        whole = Caller(guarded)
        for part in (PART, LAST):
            whole.parts.put_nowait(part)
        assert await whole.status() == 200
        assert [await caller.status() for caller in late] == [408] * 3
        # The timer is there again for whoever comes after a pause.
        assert await Caller(guarded).status() == 408

    asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"content-length", b"2")], 200),
        ([(b"content-length", b"3")], 408),
        ([(b"content-length", b"2"), (b"transfer-encoding", b"chunked")], 408),
        ([(b"transfer-encoding", b"chunked")], 408),
    ],
)
def test_a_body_is_whole_with_its_declared_length_unless_it_comes_in_chunks(
    headers: list[tuple[bytes, bytes]], status: int
) -> None:
    async def scenario() -> None:
        caller = Caller(guard(0.3), *headers)
        caller.parts.put_nowait(PART)
        assert await caller.status() == status

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_caller_that_is_gone_is_told_nothing_else() -> None:
    async def scenario() -> None:
        caller = Caller(guard(60))
        caller.parts.put_nowait({"type": "http.disconnect"})
        assert await caller.status() == 400

    asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.mark.parametrize(("parts", "closing"), [((PART, LAST), False), ((PART,), True)])
def test_a_connection_ends_where_a_refused_body_does_not(parts: list[dict[str, Any]], closing: bool) -> None:
    async def scenario() -> None:
        caller = Caller(Guard(refusing, HttpSettings(body_seconds=0.3), Connections(1, 60.0)))
        for part in parts:
            caller.parts.put_nowait(part)
        assert await caller.status() == 401
        assert ((b"connection", b"close") in caller.sent[0]["headers"]) is closing

    asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.mark.parametrize("body_seconds", [60, 0.05])
def test_who_is_cancelled_stays_cancelled(body_seconds: float) -> None:
    async def scenario() -> None:
        caller = Caller(guard(body_seconds))
        await asyncio.sleep(0)
        caller.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller.task
        assert caller.sent == []

    asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.mark.parametrize(
    ("headers", "clear"),
    [
        ([(b"host", b"a"), (b"accept", b"x"), (b"accept", b"y")], True),
        ([(b"host", b"a"), (b"host", b"a")], False),
        ([(b"host", b"a"), (b"content-length", b"1"), (b"content-length", b"1")], False),
        (
            [(b"host", b"a"), (b"accept", b"x"), (b"accept", b"y"), (b"content-type", b""), (b"content-type", b"")],
            False,
        ),
        ([(b"host", b"")], False),
        ([], False),
    ],
)
def test_what_decides_how_a_request_is_read_is_there_once(headers: list[tuple[bytes, bytes]], clear: bool) -> None:
    assert is_clear("1.1", "/", headers, dict(headers)) is clear
