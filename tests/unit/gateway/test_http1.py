"""What a connection of HTTP/1.1 answers to which bytes, and when it ends."""

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import uvloop

from services.gateway.exchange import Request, Response
from services.gateway.http.body import IncompleteBodyError
from services.gateway.http.connections import Serving
from services.gateway.http.http1 import Http1Connection
from services.gateway.settings import HttpSettings

SETTINGS = HttpSettings(header_bytes=8192, idle_seconds=30.0, body_seconds=20.0)
LIMIT = 16 * 1024 * 1024
MANY = b"x" * LIMIT


@dataclass
class Port:
    """A port whose application answers with the path and the body of the request, once `open` is set."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[Request] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    serving: Serving = field(init=False)
    reader: asyncio.StreamReader = field(init=False)
    writer: asyncio.StreamWriter = field(init=False)

    def __post_init__(self) -> None:
        self.serving = Serving(self._answer, SETTINGS, ended=lambda: None)
        self.open.set()

    async def _answer(self, request: Request) -> Response:
        self.requests.append(request)
        await self.open.wait()
        if request.path == "/unread":
            return Response(401)
        try:
            body = await request.body.read(LIMIT)
        except IncompleteBodyError as problem:
            self.failures.append(problem.status)
            raise
        return Response(200, request.path.encode() + b"=" + body, ((b"x-kept", b"yes"),))

    @property
    def connection(self) -> Http1Connection:
        (connection,) = self.serving.connections
        assert isinstance(connection, Http1Connection)
        return connection

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0.002)

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """Return status, headers and body of the next answer."""
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
        headers = {line.partition(b": ")[0]: line.partition(b": ")[2] for line in lines}
        length = 0 if b"content-length" not in headers else int(headers[b"content-length"])
        return int(first.split()[1]), headers, await self.reader.readexactly(length)

    def reset(self) -> None:
        """Break the connection off, instead of ending the caller's side of it."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def closed(self) -> bool:
        return await self.reader.read() == b""


def on_port(scenario: Callable[[Port], Awaitable[None]]) -> None:
    """Run a scenario with a caller that is connected."""

    async def run() -> None:
        port = Port()
        server = await asyncio.get_running_loop().create_server(lambda: Http1Connection(port.serving), "127.0.0.1", 0)
        port.reader, port.writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            await scenario(port)
        finally:
            port.writer.close()
            server.close()

    uvloop.run(asyncio.wait_for(run(), 60))


def post(path: bytes, body: bytes = b"", *lines: bytes, version: bytes = b"1.1") -> bytes:
    length = [] if any(b"chunked" in line for line in lines) else [b"Content-Length: %d" % len(body)]
    return b"\r\n".join((b"POST %s HTTP/%s" % (path, version), b"Host: a", *length, *lines, b"", body))


def test_a_request_in_single_bytes_is_the_same_as_in_one() -> None:
    async def scenario(port: Port) -> None:
        request = post(b"/a", b"abc")
        await port.send(request)
        together = await port.answer()
        port.writer.transport.set_write_buffer_limits(0)
        await port.send(*(request[i : i + 1] for i in range(len(request))))
        apart = await port.answer()
        for _, headers, _ in (together, apart):
            del headers[b"date"]
        assert apart == together
        assert together[0] == 200
        assert together[2] == b"/a=abc"
        assert together[1][b"x-kept"] == b"yes"
        assert b"connection" not in together[1]

    on_port(scenario)


def test_requests_sent_at_once_are_answered_one_after_the_other() -> None:
    async def scenario(port: Port) -> None:
        port.open.clear()
        await port.send(b"".join(post(b"/%d" % number, b"x" * number) for number in range(5)))
        assert [request.path for request in port.requests] == ["/0"]
        port.open.set()
        for number in range(5):
            assert (await port.answer())[2] == b"/%d=%s" % (number, b"x" * number)

    on_port(scenario)


def test_a_connection_ends_where_too_many_requests_are_sent_at_once() -> None:
    async def scenario(port: Port) -> None:
        port.writer.write(b"".join(post(b"/%d" % number) for number in range(100_000)))
        answers = [await port.answer() for _ in range(17)]
        assert [b"connection" in headers for _, headers, _ in answers] == [False] * 16 + [True]
        assert await port.closed()

    on_port(scenario)


@pytest.mark.parametrize(
    "rest",
    [
        post(b"/a", b"3\r\nabc\r\n2;name=value\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n", b"Transfer-Encoding: chunked"),
        post(b"/a", b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n2\r\nde\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"),
        post(b"/a", b"abcde", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMA"),
        post(b"/a", b"5\r\nabcde\r\n0\r\n\r\n", b"Connection: Upgrade", b"Upgrade: h2c", b"Transfer-Encoding: chunked"),
        post(b"/a", b"abcde", b"X-Not-Ascii: \xe9"),
    ],
    ids=["chunks", "small chunks", "upgrade", "upgrade with chunks", "a header of other bytes"],
)
@pytest.mark.parametrize("pieces", [1, 7, 10_000])
def test_however_a_body_comes_it_is_read_and_the_next_request_too(rest: bytes, pieces: int) -> None:
    async def scenario(port: Port) -> None:
        size = -(-len(rest) // pieces)
        await port.send(*(rest[start : start + size] for start in range(0, len(rest), size)))
        assert (await port.answer())[2] == b"/a=abcde"
        await port.send(post(b"/next", b"x"))
        assert (await port.answer())[2] == b"/next=x"

    on_port(scenario)


def test_many_small_chunks_are_a_body_and_one_long_name_of_a_chunk_is_none() -> None:
    async def scenario(port: Port) -> None:
        await port.send(post(b"/a", b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n", b"Transfer-Encoding: chunked"))
        assert (await port.answer())[2] == b"/a=" + b"x" * 20_000
        await port.send(post(b"/a", b"1;" + b"y" * 9000 + b"\r\nx\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"))
        assert (await port.answer())[0] == 400
        assert await port.closed()

    on_port(scenario)


def test_who_asks_whether_to_send_a_body_is_told_when_somebody_reads_it() -> None:
    async def scenario(port: Port) -> None:
        head, body = post(b"/a", b"abc", b"Expect: 100-continue")[:-3], b"abc"
        await port.send(head)
        assert await port.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await port.send(body)
        assert (await port.answer())[2] == b"/a=abc"
        await port.send(post(b"/unread", b"abc", b"Expect: 100-continue")[:-3])
        status, headers, _ = await port.answer()
        assert (status, headers[b"connection"]) == (401, b"close")
        assert await port.closed()

    on_port(scenario)


def test_only_the_head_of_an_answer_to_head() -> None:
    async def scenario(port: Port) -> None:
        await port.send(post(b"/a").replace(b"POST", b"HEAD"), post(b"/b"))
        head = await port.reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 3\r\n" in head
        assert (await port.answer())[2] == b"/b="

    on_port(scenario)


@pytest.mark.parametrize(
    ("version", "lines", "said", "stays"),
    [
        (b"1.1", (), None, True),
        (b"1.1", (b"Connection: close",), b"close", False),
        (b"1.0", (), b"close", False),
        (b"1.0", (b"Connection: keep-alive",), b"keep-alive", True),
    ],
)
def test_a_connection_stays_as_its_caller_wants(
    version: bytes, lines: tuple[bytes, ...], said: bytes | None, stays: bool
) -> None:
    async def scenario(port: Port) -> None:
        await port.send(post(b"/a", b"", *lines, version=version))
        _, headers, _ = await port.answer()
        assert headers.get(b"connection") == said
        if not stays:
            assert await port.closed()
        else:
            await port.send(post(b"/b"))
            assert (await port.answer())[0] == 200

    on_port(scenario)


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0", b"3.0"])
def test_other_versions_are_refused(version: bytes) -> None:
    async def scenario(port: Port) -> None:
        await port.send(post(b"/a", version=version))
        assert (await port.answer())[0] == 400
        assert await port.closed()

    on_port(scenario)


def test_a_caller_that_ends_its_side_gets_every_answer() -> None:
    async def scenario(port: Port) -> None:
        port.open.clear()
        await port.send(post(b"/a", b"x"), post(b"/b", b"y"))
        port.writer.write_eof()
        await asyncio.sleep(0.05)
        port.open.set()
        assert [(await port.answer())[2] for _ in range(2)] == [b"/a=x", b"/b=y"]
        assert await port.closed()

    on_port(scenario)


def test_a_request_that_came_whole_is_run_though_its_caller_is_gone_and_half_a_one_is_not() -> None:
    async def scenario(port: Port) -> None:
        port.open.clear()
        await port.send(post(b"/a", b"abc"))
        port.reset()
        await asyncio.sleep(0.05)
        assert not port.serving.connections
        (request,) = port.requests
        assert await request.body.read(LIMIT) == b"abc"
        assert port.failures == []

    async def half(port: Port) -> None:
        await port.send(post(b"/a", b"abc")[:-1])
        port.reset()
        await asyncio.sleep(0.05)
        assert port.failures == [400]

    on_port(scenario)
    on_port(half)


def test_no_more_of_a_body_is_taken_than_somebody_reads() -> None:
    async def scenario(port: Port) -> None:
        port.open.clear()
        body = b"x" * (8 * 1024 * 1024)
        port.writer.write(post(b"/a", body))
        await asyncio.sleep(0.3)
        assert port.requests[0].body.received < 2 * 1024 * 1024
        # It is not the caller's fault that it does not go on.
        port.connection.look(time.monotonic() + 1000)
        port.open.set()
        assert (await port.answer())[2] == b"/a=" + body

    on_port(scenario)


def test_the_time_that_another_request_takes_is_not_counted_against_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(port: Port) -> None:
        port.open.clear()
        await port.send(post(b"/a"), post(b"/b", b"abc")[:-1])
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 10 * SETTINGS.body_seconds)
        port.connection.look(time.monotonic())
        port.open.set()
        assert (await port.answer())[2] == b"/a="
        port.connection.look(time.monotonic() + 1)
        await port.send(b"c")
        assert (await port.answer())[2] == b"/b=abc"
        monkeypatch.undo()

    on_port(scenario)


def test_a_body_that_stops_coming_is_given_up_and_the_caller_told() -> None:
    async def scenario(port: Port) -> None:
        await port.send(post(b"/a", b"abc")[:-1])
        port.connection.look(time.monotonic() + SETTINGS.body_seconds - 1)
        port.connection.look(time.monotonic() + SETTINGS.body_seconds + 1)
        status, headers, _ = await port.answer()
        assert (status, headers[b"connection"], port.failures) == (408, b"close", [408])
        assert await port.closed()

    on_port(scenario)


@pytest.mark.parametrize("begun", [b"", b"P", b"PRI * HT", b"POST / HTTP/1.1\r\nHo"])
def test_a_connection_without_a_request_is_closed_in_time(begun: bytes) -> None:
    async def scenario(port: Port) -> None:
        await port.send(begun)
        await asyncio.sleep(0.02)
        port.connection.look(time.monotonic() + SETTINGS.idle_seconds - 1)
        assert port.serving.connections
        port.connection.look(time.monotonic() + SETTINGS.idle_seconds + 1)
        await asyncio.sleep(0.05)
        assert not port.serving.connections

    on_port(scenario)


def test_a_request_that_takes_long_to_answer_is_waited_for() -> None:
    async def scenario(port: Port) -> None:
        port.open.clear()
        await port.send(post(b"/a"))
        port.connection.look(time.monotonic() + 1000)
        port.open.set()
        assert (await port.answer())[0] == 200

    on_port(scenario)


def test_a_caller_that_takes_no_answers_is_asked_for_nothing_more_and_cut_off() -> None:
    async def scenario(port: Port) -> None:
        body = b"x" * (1024 * 1024)
        for _ in range(32):
            port.writer.write(post(b"/a", body))
        await asyncio.sleep(0.5)
        answered = len(port.requests)
        assert answered < 32
        connection, now = port.connection, time.monotonic()
        connection.look(now)
        connection.look(now + SETTINGS.idle_seconds + 1)
        await asyncio.sleep(0.05)
        assert not port.serving.connections
        assert len(port.requests) == answered

    on_port(scenario)


@pytest.mark.parametrize("busy", [False, True])
def test_a_connection_that_is_to_finish_answers_what_is_under_way(busy: bool) -> None:
    async def scenario(port: Port) -> None:
        if busy:
            port.open.clear()
            await port.send(post(b"/a"))
        await asyncio.sleep(0.02)
        port.connection.finish()
        port.open.set()
        if busy:
            _, headers, body = await port.answer()
            assert (headers[b"connection"], body) == (b"close", b"/a=")
        assert await port.closed()

    on_port(scenario)


@pytest.mark.parametrize("one", [False, True], ids=["the port drains", "the connection retires"])
def test_callers_are_told_to_use_another_connection(one: bool) -> None:
    async def scenario(port: Port) -> None:
        await asyncio.sleep(0.02)
        if one:
            port.connection.retire()
        else:
            port.serving.draining = True
        await port.send(post(b"/a"))
        assert (await port.answer())[1][b"connection"] == b"close"
        assert await port.closed()

    on_port(scenario)


def test_what_follows_the_chunks_of_a_large_body_is_bounded_like_a_head() -> None:
    async def scenario(port: Port) -> None:
        body = b"f000\r\n" + b"x" * 0xF000 + b"\r\n0\r\nX-Trailer: "
        await port.send(post(b"/a", body, b"Transfer-Encoding: chunked"), b"y" * 100_000)
        assert (await port.answer())[0] == 400
        assert await port.closed()

    on_port(scenario)


def test_the_last_of_too_many_requests_is_answered_with_its_body() -> None:
    async def scenario(port: Port) -> None:
        port.open.clear()
        last = post(b"/last", b"x" * 20_000)
        await port.send(b"".join(post(b"/%d" % number) for number in range(16)) + last[:-15_000])
        port.open.set()
        for number in range(16):
            assert (await port.answer())[2] == b"/%d=" % number
        await port.send(last[-15_000:] + post(b"/more"))
        _, headers, body = await port.answer()
        assert (headers[b"connection"], body) == (b"close", b"/last=" + b"x" * 20_000)
        assert await port.closed()

    on_port(scenario)


@pytest.mark.parametrize(
    "first",
    [post(b"/a", b"", b"Connection: close"), post(b"/unread", MANY, b"Expect: 100-continue")[: -len(MANY)]],
    ids=["after the last request", "a body that was not asked for"],
)
def test_a_caller_that_sends_on_before_it_reads_sees_its_answer(first: bytes) -> None:
    async def scenario(port: Port) -> None:
        port.open.clear()
        await port.send(first)
        port.writer.write(MANY)
        await asyncio.sleep(0.2)
        port.open.set()
        await port.writer.drain()
        await asyncio.sleep(0.2)
        port.connection.look(time.monotonic() + 1000)
        assert (await port.answer())[1][b"connection"] == b"close"
        assert port.writer.transport.get_write_buffer_size() == 0

    on_port(scenario)


def test_a_connection_is_not_left_open_unread_by_a_head_that_is_hardly_too_long() -> None:
    async def scenario(port: Port) -> None:
        rest = post(b"/a")
        long = rest[:-2] + b"X: " + b"y" * (SETTINGS.header_bytes - len(rest)) + b"\r\n\r\n"
        await port.send(long)
        await port.answer()
        assert await asyncio.wait_for(port.closed(), 5)

    on_port(scenario)


def test_http_1_0_with_chunks_is_refused() -> None:
    async def scenario(port: Port) -> None:
        lines = b"Transfer-Encoding: chunked", b"Connection: keep-alive"
        await port.send(post(b"/a", b"0\r\n\r\n", *lines, version=b"1.0"))
        status, headers, _ = await port.answer()
        assert (status, headers[b"connection"]) == (400, b"close")
        assert await port.closed()

    on_port(scenario)


def test_http_1_0_is_not_told_to_send_a_body() -> None:
    async def scenario(port: Port) -> None:
        await port.send(post(b"/a", b"abc", b"Expect: 100-continue", version=b"1.0")[:-3])
        await port.send(b"abc")
        assert (await port.answer())[2] == b"/a=abc"

    on_port(scenario)


def test_the_last_answer_may_be_taken_as_slowly_as_any() -> None:
    async def scenario(port: Port) -> None:
        port.writer.write(post(b"/a", MANY[:-3], b"Connection: close") + b"more")
        await asyncio.sleep(0.5)
        port.connection.look(time.monotonic())
        port.connection.look(time.monotonic() + SETTINGS.idle_seconds - 1)
        assert len((await port.answer())[2]) == LIMIT

    on_port(scenario)
