"""How a connection of HTTP/2 reads requests and answers them, and what a caller can take of it."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps

import pytest
import uvloop
from h2.errors import ErrorCodes
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from services.gateway.exchange import Request, Respond, Response
from services.gateway.http.connections import Serving
from services.gateway.http.http2 import PREFACE, Http2Connection
from services.gateway.settings import HttpSettings
from tests.http2_caller import CALM, CANCEL, NO_ERROR, PATIENCE, REFUSED, calling

MB = 1024 * 1024
LIMIT = 20 * MB


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - of what is under test, nothing tells when it changes
            await asyncio.sleep(0.01)


class Port:
    """A port that speaks nothing but HTTP/2 with prior knowledge."""

    def __init__(self, application: Respond, settings: HttpSettings) -> None:
        self.serving = Serving(application, settings, lambda: None)
        self.number = 0
        self.made: list[Http2Connection] = []
        self.problems: list[str] = []

    @property
    def connection(self) -> Http2Connection:
        """The connection that was made last."""
        return self.made[-1]

    def make(self) -> Http2Connection:
        self.made.append(Http2Connection(self.serving))
        return self.made[-1]

    def look(self, seconds: float) -> None:
        """Have the connections look for what takes too long, so many seconds from now."""
        for connection in tuple(self.serving.connections):
            connection.look(time.monotonic() + seconds)

    async def none_left(self) -> None:
        """Return when every connection has closed."""
        await until(lambda: not self.serving.connections)


@asynccontextmanager
async def port(application: Respond, **settings: float) -> AsyncIterator[Port]:
    made = Port(application, HttpSettings(**settings))  # type: ignore[arg-type]
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: made.problems.append(str(context)))
    server = await loop.create_server(made.make, "127.0.0.1", 0)
    made.number = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for connection in tuple(made.serving.connections):
            connection.abort()
    await made.none_left()
    assert not made.problems


def scenario(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run a test in the event loop of the gateway."""

    @wraps(test)
    def run(*arguments: object, **named: object) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*arguments, **named))

    return run


async def echo(request: Request) -> Response:
    return Response(200, await request.body.read(LIMIT), ((b"x-method", request.method.encode()),))


async def refuse(request: Request) -> Response:
    return Response(401, b"no" * 1000)


def large(length: int) -> Respond:
    async def respond(request: Request) -> Response:
        return Response(200, b"x" * length)

    return respond


class Held:
    """An application whose answers wait until they may go; `begun` and `done` have the paths of the requests."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun: list[str] = []
        self.done: list[str] = []

    async def __call__(self, request: Request) -> Response:
        self.begun.append(request.path)
        body = await request.body.read(LIMIT)
        await self.go.wait()
        self.done.append(request.path)
        return Response(200, body)

    async def has_begun(self, number: int) -> None:
        await until(lambda: len(self.begun) >= number)

    async def has_done(self, number: int) -> None:
        await until(lambda: len(self.done) >= number)


# Requests and answers.


@scenario
async def test_a_request_is_answered() -> None:
    async with port(echo) as there, calling(there.number) as caller:
        answer = await caller.answer(caller.request(b"body"))
        assert (answer.status, answer.body, answer.ended) == (200, b"body", True)
        assert answer.headers["content-length"] == "4"
        assert answer.headers["server"] == "orrery"
        assert "date" in answer.headers


@scenario
async def test_a_head_has_the_length_of_the_body_that_it_has_not() -> None:
    async with port(large(10)) as there, calling(there.number) as caller:
        answer = await caller.answer(caller.begin(method="HEAD", ended=True))
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "10")


@scenario
async def test_requests_run_side_by_side() -> None:
    held = Held()
    async with port(held) as there, calling(there.number) as caller:
        numbers = [caller.request(b"%d" % each, path=f"/{each}") for each in range(100)]
        await caller.send()
        await held.has_begun(100)
        held.go.set()
        assert [(await caller.answer(each)).body for each in numbers] == [b"%d" % each for each in range(100)]


@pytest.mark.parametrize("window", [1, 100, 65535, 16 * MB])
@scenario
async def test_a_large_answer_goes_through_any_window(window: int) -> None:
    length = 500 if window == 1 else 50_000 if window == 100 else 5 * MB
    async with port(large(length)) as there, calling(there.number, initial_window_size=window) as caller:
        answer = await caller.answer(caller.request(b""))
        assert (answer.body == b"x" * length, answer.ended) == (True, True)


@scenario
async def test_large_answers_go_side_by_side() -> None:
    async with port(large(MB)) as there, calling(there.number) as caller:
        numbers = [caller.request(b"") for _ in range(20)]
        assert [len((await caller.answer(each)).body) for each in numbers] == [MB] * 20


@scenario
async def test_frames_are_of_moderate_size_whatever_the_caller_takes() -> None:
    """Larger ones would be copied whole, and hold up every other answer."""
    async with (
        port(large(4 * MB)) as there,
        calling(there.number, initial_window_size=8 * MB, max_frame_size=8 * MB) as caller,
    ):
        lengths: list[int] = []
        number = caller.request(b"")
        caller.h2.increment_flow_control_window(8 * MB)
        take = caller._take

        def measured(event: object) -> None:
            lengths.append(len(getattr(event, "data", None) or b""))
            take(event)  # type: ignore[arg-type]

        caller._take = measured  # type: ignore[method-assign]
        assert len((await caller.answer(number)).body) == 4 * MB
        assert max(lengths) <= 65536


@scenario
async def test_a_large_body_comes_whole() -> None:
    body = bytes(range(256)) * (4 * MB // 256)
    async with port(echo) as there, calling(there.number, initial_window_size=4 * MB) as caller:
        number = caller.begin()
        assert await caller.upload(number, body) == len(body)
        assert (await caller.answer(number)).body == body


@scenario
async def test_trailers_are_not_taken_for_headers() -> None:
    async with port(echo) as there, calling(there.number) as caller:
        number = caller.begin()
        caller.h2.send_data(number, b"body")
        caller.h2.send_headers(number, [("token", "t")], end_stream=True)
        answer = await caller.answer(number)
        assert (answer.status, answer.body) == (200, b"body")


@scenario
async def test_who_asks_before_sending_a_body_is_told_to_send_it() -> None:
    async with port(echo) as there, calling(there.number) as caller:
        number = caller.begin(("expect", "100-continue"))
        await caller.send()
        await caller.until(lambda: bool(caller.answers[number].informed))
        caller.h2.send_data(number, b"body", end_stream=True)
        answer = await caller.answer(number)
        assert (answer.informed, answer.status, answer.body) == ([100], 200, b"body")


@scenario
async def test_who_asks_before_sending_a_body_that_is_not_wanted_is_answered_at_once() -> None:
    async with port(refuse) as there, calling(there.number) as caller:
        answer = await caller.answer(caller.begin(("expect", "100-continue")))
        assert (answer.informed, answer.status, answer.ended) == ([], 401, True)
        await caller.until(lambda: answer.reset is not None)
        assert answer.reset == NO_ERROR


# Requests that are not clear.


@pytest.mark.parametrize(
    "further",
    [
        ((":path", "v1"),),
        ((":path", "*"),),
        ((":path", "/v1%00"),),
        ((":path", "/v1#a"),),
        ((":path", "http://other/v1"),),
        ((":authority", ""),),
        ((":method", "P\xd6ST"),),
        ((":method", ""),),
        ((":method", "POST /v1 HTTP/1.1"),),
        (("content-type", "a"), ("content-type", "b")),
        tuple((f"x-{each}", "a") for each in range(101)),
    ],
    ids=lambda further: f"{further[0][0]}={further[0][1]}",
)
@scenario
async def test_a_request_that_is_not_clear_is_refused_and_no_other(further: tuple[tuple[str, str], ...]) -> None:
    async with port(echo) as there, calling(there.number) as caller:
        refused = caller.begin(*further, ended=True)
        taken = caller.request(b"body")
        assert (await caller.answer(refused)).status == 400
        assert (await caller.answer(taken)).status == 200


@scenario
async def test_connect_is_refused() -> None:
    async with port(echo) as there, calling(there.number) as caller:
        number = caller.begin_with([(":method", "CONNECT"), (":authority", "a")], ended=True)
        assert (await caller.answer(number)).status == 400


@pytest.mark.parametrize(
    ("length", "sent", "trailers"), [("9", b"", False), ("9", b"body", True), ("9", b"", True), ("0", b"", True)]
)
@scenario
async def test_a_body_that_ends_before_its_length_is_not_whole(length: str, sent: bytes, trailers: bool) -> None:
    async with port(echo) as there, calling(there.number) as caller:
        number = caller.begin(("content-length", length), ended=not trailers)
        if sent:
            caller.h2.send_data(number, sent)
        if trailers:
            caller.h2.send_headers(number, [("x", "y")], end_stream=True)
        assert (await caller.answer(number)).status == (200 if length == "0" else 400)


@pytest.mark.parametrize("sent", [b"too much of it", b"less"])
@scenario
async def test_a_body_of_another_length_ends_the_connection(sent: bytes) -> None:
    held = Held()
    async with port(held) as there, calling(there.number) as caller:
        number = caller.begin(("content-length", "9"))
        await caller.send(DataFrame(number, sent, flags=["END_STREAM"]))
        assert await caller.end() == (int(ErrorCodes.PROTOCOL_ERROR), number)
    assert not held.done


@pytest.mark.parametrize(
    "further",
    [
        [(":authority", "a"), (":authority", "a")],
        [(":authority", "a"), ("host", "b")],
        [("host", "a"), ("host", "a")],
        [],
        [(":authority", "a"), ("transfer-encoding", "chunked")],
        [(":authority", "a"), ("connection", "close")],
        [(":authority", "a"), ("Token", "upper case")],
        [(":authority", "a"), ("x", "a\r\ny: b")],
        [(":authority", "a"), ("x", "a\0b")],
        [(":authority", "a"), ("content-length", "1"), ("content-length", "2")],
        [(":authority", "a"), ("content-length", "+1")],
        [(":authority", "a"), ("content-length", "1" * 5000)],
        [(":authority", "a"), (":status", "200")],
    ],
)
@scenario
async def test_a_head_against_the_rules_of_http_2_ends_the_connection(further: list[tuple[str, str]]) -> None:
    held = Held()
    fixed = [(":method", "POST"), (":path", "/v1"), (":scheme", "http")]
    async with port(held) as there, calling(there.number) as caller:
        caller.begin_with([*fixed, *further], ended=True)
        await caller.send()
        assert await caller.end() is not None
    assert not held.done


# Bodies that nobody wants.


@scenario
async def test_an_answer_is_there_though_its_request_goes_on() -> None:
    async with port(refuse) as there, calling(there.number) as caller:
        number = caller.begin()
        answer = await caller.answer(number)
        assert (answer.status, answer.ended) == (401, True)
        await caller.until(lambda: answer.reset is not None)
        assert answer.reset == NO_ERROR
        assert (await caller.answer(caller.request(b"x"))).status == 401


@scenario
async def test_a_body_that_nobody_wants_is_read_to_a_bound() -> None:
    async with port(refuse, discard_bytes=MB) as there, calling(there.number) as caller:
        within, beyond = caller.begin(), caller.begin()
        assert await caller.upload(within, b"x" * MB) == MB
        assert (await caller.answer(within)).reset is None
        assert await caller.upload(beyond, b"x" * (8 * MB)) < 3 * MB
        assert (await caller.answer(beyond)).status == 401
        # What was on its way cost the connection nothing.
        assert (await caller.answer(caller.request(b"x"))).status == 401


@scenario
async def test_a_caller_that_does_not_take_its_refusal_cannot_send_on() -> None:
    """A body that comes while its answer waits for the caller would be held, all of it."""
    async with (
        port(refuse, discard_bytes=1) as there,
        calling(there.number, initial_window_size=0) as caller,
    ):
        number = caller.begin()
        caller.h2.send_data(number, b"xx")
        await caller.send()
        await caller.until(lambda: caller.answers[number].status == 401)
        sent = 0
        while sent < 4 * MB:
            room = min(16384, caller.h2.local_flow_control_window(number))
            if room > 0:
                caller.h2.send_data(number, b"x" * room)
                sent += room
                await caller.send()
            elif not await caller.hear(0.5):
                break
        assert sent < MB


@scenario
async def test_a_body_comes_no_faster_than_it_is_read() -> None:
    reading = asyncio.Event()

    async def late(request: Request) -> Response:
        await reading.wait()
        return Response(200, b"%d" % len(await request.body.read(LIMIT)))

    async with port(late) as there, calling(there.number) as caller:
        number = caller.begin()
        await caller.hear()
        upload = asyncio.create_task(caller.upload(number, b"x" * (2 * MB)))
        await asyncio.sleep(0.5)
        assert not upload.done()
        assert next(iter(there.connection._streams.values())).body.received <= 256 * 1024
        reading.set()
        assert await upload == 2 * MB
        assert (await caller.answer(number)).body == b"%d" % (2 * MB)


# Callers that give up.


@scenario
async def test_a_request_that_came_whole_runs_to_its_end_though_its_caller_gave_it_up() -> None:
    held = Held()
    async with port(held) as there, calling(there.number) as caller:
        first = caller.request(b"", path="/reset")
        await caller.send()
        await held.has_begun(1)
        caller.h2.reset_stream(first, CANCEL)
        await caller.send()
        second = caller.request(b"", path="/answered")
        await caller.send()
        await held.has_begun(2)
        held.go.set()
        assert (await caller.answer(second)).status == 200
    assert held.done == ["/reset", "/answered"]


@scenario
async def test_a_request_that_came_whole_runs_to_its_end_though_its_caller_is_gone() -> None:
    held = Held()
    async with port(held) as there:
        async with calling(there.number) as caller:
            caller.request(b"", path="/whole")
            caller.begin(path="/half")
            await caller.send()
            await held.has_begun(2)
        await there.none_left()
        held.go.set()
        await held.has_done(1)
    assert held.done == ["/whole"]


@scenario
async def test_half_a_request_that_is_given_up_is_not_run() -> None:
    held = Held()
    held.go.set()
    async with port(held) as there, calling(there.number) as caller:
        number = caller.begin()
        caller.h2.send_data(number, b"half")
        await caller.send()
        await held.has_begun(1)
        caller.h2.reset_stream(number)
        assert (await caller.answer(caller.request(b"", path="/other"))).status == 200
    assert held.done == ["/other"]


@scenario
async def test_requests_that_were_given_up_count_while_they_run() -> None:
    """CVE-2023-44487: no more run at a time than streams may be open."""
    held = Held()
    async with port(held) as there, calling(there.number) as caller:
        for _ in range(128):
            caller.h2.reset_stream(caller.request(b"", path="/reset"))
        await caller.send()
        await held.has_begun(128)
        refused = caller.request(b"", path="/refused")
        assert (await caller.answer(refused)).reset == REFUSED
        held.go.set()
        await held.has_done(128)
        await asyncio.sleep(0)
        assert (await caller.answer(caller.request(b""))).status == 200
        assert "/refused" not in held.begun


@scenario
async def test_streams_that_are_refused_and_given_up_at_once_do_no_harm() -> None:
    """They come in one piece, so that the stream is over before it is looked at."""
    held = Held()
    async with port(held) as there, calling(there.number) as caller:
        for _ in range(128):
            caller.h2.reset_stream(caller.request(b""))
        await caller.send()
        await held.has_begun(128)
        for _ in range(10):
            caller.h2.reset_stream(caller.request(b""))
        await caller.send(GoAwayFrame(0))
        held.go.set()
        await caller.end()


@scenario
async def test_resets_without_end_end_the_connection() -> None:
    async with port(echo) as there, calling(there.number) as caller:
        for _ in range(3000):
            caller.h2.reset_stream(caller.request(b""))
            await caller.send()
            await asyncio.sleep(0)
        assert (await caller.end() or (None,))[0] == CALM


@scenario
async def test_refused_streams_without_end_end_the_connection() -> None:
    held = Held()
    async with port(held) as there, calling(there.number) as caller:
        for _ in range(128):
            caller.h2.reset_stream(caller.request(b""))
        await caller.send()
        await held.has_begun(128)
        for _ in range(2000):
            caller.begin(ended=True)
            await caller.send()
        assert (await caller.end() or (None,))[0] == CALM
        held.go.set()


@scenario
async def test_many_requests_with_a_priority_are_fine() -> None:
    """As browsers send them, one with each head."""
    headers = [(":method", "POST"), (":path", "/v1"), (":scheme", "http"), (":authority", "a")]
    async with port(echo) as there, calling(there.number) as caller:
        for _ in range(1500):
            number = caller.begin_with(headers, ended=True, priority=200)
            assert (await caller.answer(number)).status == 200


@scenario
async def test_a_caller_that_says_goodbye_gets_the_answers_that_it_waits_for() -> None:
    """It may still send the rest of its bodies, and give back window (RFC 9113, 6.8)."""
    held = Held()
    async with port(held) as there, calling(there.number) as caller:
        whole, half = caller.request(b"a"), caller.begin()
        caller.h2.send_data(half, b"b")
        await caller.send(GoAwayFrame(0), PingFrame(0, b"12345678"), WindowUpdateFrame(0, 1))
        caller.h2.send_data(half, b"c", end_stream=True)
        await caller.send()
        await held.has_begun(2)
        held.go.set()
        assert [(await caller.answer(each)).body for each in (whole, half)] == [b"a", b"bc"]
        await caller.end()


@scenario
async def test_a_caller_that_says_goodbye_and_waits_for_nothing_is_let_go() -> None:
    async with port(echo) as there, calling(there.number) as caller:
        await caller.send(GoAwayFrame(0))
        await caller.end()


# Frames that ask for nothing.


FLOODS = {
    "pings": PingFrame(0, b"12345678").serialize() * 30_000,
    "settings": SettingsFrame(0).serialize() * 30_000,
    "acknowledgements of nothing": SettingsFrame(0, flags=["ACK"]).serialize() * 30_000,
    "windows": WindowUpdateFrame(0, 1).serialize() * 30_000,
    "windows of a stream": WindowUpdateFrame(1, 1).serialize() * 30_000,
    "priorities": PriorityFrame(1, depends_on=3).serialize() * 30_000,
    "data without content": DataFrame(1).serialize() * 30_000,
    "data of a byte": DataFrame(1, b"x").serialize() * 200_000,
    "data that is padding": DataFrame(1, b"", pad_length=10, flags=["PADDED"]).serialize() * 30_000,
    "frames that nobody knows": ExtensionFrame(0xEE, 1, 0, b"x").serialize() * 30_000,
    "resets of a stream that is over": RstStreamFrame(3).serialize() * 30_000,
    "continued heads": HeadersFrame(5, b"").serialize() + ContinuationFrame(5, b"").serialize() * 200,
    "long heads": HeadersFrame(5, b"").serialize() + ContinuationFrame(5, b"x" * 16384).serialize() * 60,
}


@pytest.mark.parametrize("flood", FLOODS)
@scenario
async def test_frames_without_end_that_ask_for_nothing_end_the_connection(flood: str) -> None:
    held = Held()
    async with port(held) as there, calling(there.number) as caller:
        caller.begin()
        caller.h2.reset_stream(caller.request(b""))
        await caller.send()
        sending = asyncio.create_task(caller.send(FLOODS[flood]))
        assert await caller.end() is not None
        await sending


@scenario
async def test_an_answer_that_is_taken_byte_by_byte_ends_the_connection() -> None:
    async with port(large(100_000)) as there, calling(there.number, initial_window_size=0) as caller:
        number = caller.request(b"")
        for _ in range(20_000):
            caller.h2.increment_flow_control_window(1, number)
            await caller.send()
            await asyncio.sleep(0)
        assert (await caller.end() or (None,))[0] == CALM


@scenario
async def test_many_small_requests_and_pings_between_them_are_fine() -> None:
    async with port(echo) as there, calling(there.number) as caller:
        for _ in range(2000):
            number = caller.request(b"body")
            await caller.send(WindowUpdateFrame(0, 4))
            assert (await caller.answer(number)).status == 200
        for _ in range(500):
            caller.h2.ping(b"12345678")
        assert (await caller.answer(caller.request(b"body"))).status == 200


@scenario
async def test_a_connection_remembers_few_of_the_streams_that_are_over() -> None:
    async with port(echo) as there, calling(there.number) as caller:
        for _ in range(30):
            numbers = [caller.request(b"") for _ in range(100)]
            for number in numbers:
                await caller.answer(number)
        assert len(there.connection._h2._closed_streams) <= 1000


@scenario
async def test_a_large_table_of_headers_is_not_kept_for_a_caller() -> None:
    async with port(echo) as there, calling(there.number, header_table_size=2**32 - 1) as caller:
        assert (await caller.answer(caller.request(b""))).status == 200
        assert there.connection._h2.encoder.header_table_size <= 4096


# Time.


@scenario
async def test_a_connection_that_nobody_uses_is_closed_and_told_so() -> None:
    async with port(echo, idle_seconds=60) as there, calling(there.number) as caller:
        number = caller.request(b"")
        await caller.answer(number)
        there.look(59)
        assert (await caller.answer(caller.request(b""))).status == 200
        there.look(61)
        assert await caller.end() == (NO_ERROR, number + 2)


@scenario
async def test_pings_are_no_use() -> None:
    async with port(echo, idle_seconds=60) as there, calling(there.number) as caller:
        caller.h2.ping(b"12345678")
        await caller.send()
        await caller.hear()
        there.look(61)
        await caller.end()


@scenario
async def test_a_connection_with_a_request_under_way_stays() -> None:
    held = Held()
    async with port(held, idle_seconds=60) as there, calling(there.number) as caller:
        number = caller.request(b"")
        await caller.send()
        await held.has_begun(1)
        there.look(1000)
        held.go.set()
        assert (await caller.answer(number)).status == 200


@scenario
async def test_a_body_that_takes_too_long_is_given_up() -> None:
    async with port(echo, body_seconds=30) as there, calling(there.number) as caller:
        late, taken = caller.begin(), caller.request(b"body")
        caller.h2.send_data(late, b"half")
        assert (await caller.answer(taken)).status == 200
        there.look(31)
        assert (await caller.answer(late)).status == 408
        assert (await caller.answer(caller.request(b"body"))).status == 200


@pytest.mark.parametrize("windows", [{}, {"initial_window_size": 0}, {"initial_window_size": 2**31 - 1}])
@scenario
async def test_a_caller_that_does_not_take_its_answer_is_cut_off(windows: dict[str, int]) -> None:
    """For want of a stream's window, of the connection's, or of anybody who reads."""
    async with port(large(LIMIT), idle_seconds=60) as there, calling(there.number, None, **windows) as caller:
        caller.takes = False
        number = caller.request(b"")
        if windows.get("initial_window_size"):
            caller.h2.increment_flow_control_window(2**30)
        await caller.send()
        await asyncio.sleep(0.2)
        there.look(1)
        assert there.serving.connections
        there.look(61)
        there.look(122)  # what was found unsent for the first time had its time since then
        answer = await caller.answer(number)
        assert (answer.reset == CANCEL, caller.closed) in ((True, False), (False, True))
        assert len(answer.body) < LIMIT


@scenario
async def test_an_answer_that_is_not_taken_is_given_up_though_its_caller_takes_others() -> None:
    async with port(echo, idle_seconds=60) as there, calling(there.number) as caller:
        caller.takes = False
        stuck = caller.begin()
        await caller.upload(stuck, b"x" * 70_000)
        await caller.until(lambda: len(caller.answers[stuck].body) >= 65535)
        caller.h2.increment_flow_control_window(MB)
        await caller.send()
        assert (await caller.answer(caller.request(b"body"))).body == b"body"
        there.look(61)
        assert (await caller.answer(stuck)).reset == CANCEL
        assert (await caller.answer(caller.request(b"body"))).body == b"body"


@scenario
async def test_other_answers_do_not_keep_a_connection_whose_window_is_used_up() -> None:
    async with port(echo, idle_seconds=60) as there, calling(there.number, initial_window_size=MB) as caller:
        caller.takes = False
        stuck = caller.begin()
        await caller.upload(stuck, b"x" * 70_000)
        await caller.until(lambda: len(caller.answers[stuck].body) >= 65535)
        assert (await caller.answer(caller.request(b""))).status == 200
        there.look(61)
        await caller.end()


@scenario
async def test_the_time_to_take_an_answer_begins_with_the_answer() -> None:
    held = Held()
    async with (
        port(held, idle_seconds=0.5) as there,
        calling(there.number, initial_window_size=0) as caller,
    ):
        number = caller.request(b"body")
        await caller.send()
        await held.has_begun(1)
        await asyncio.sleep(0.6)
        held.go.set()
        await caller.until(lambda: caller.answers[number].status == 200)
        there.look(0)
        caller.h2.increment_flow_control_window(100, number)
        assert (await caller.answer(number)).body == b"body"


# The end of a connection.


@scenario
async def test_finishing_answers_what_is_under_way_and_nothing_else() -> None:
    held = Held()
    async with port(held) as there, calling(there.number) as caller:
        first = caller.request(b"")
        await caller.send()
        await held.has_begun(1)
        there.connection.finish()
        await caller.until(lambda: bool(caller.goodbyes))
        assert caller.goodbyes == [(NO_ERROR, first)]
        refused = caller.request(b"")
        assert (await caller.answer(refused)).reset == REFUSED
        held.go.set()
        assert (await caller.answer(first)).status == 200
        await caller.end()


@scenario
async def test_finishing_closes_a_connection_without_requests() -> None:
    async with port(echo) as there, calling(there.number) as caller:
        await caller.hear()
        there.connection.finish()
        assert await caller.end() == (NO_ERROR, 0)


@scenario
async def test_a_retired_connection_ends_with_its_next_answer() -> None:
    async with port(echo) as there, calling(there.number) as caller:
        number = caller.request(b"")
        await caller.answer(number)
        there.connection.retire()
        assert (await caller.answer(caller.request(b""))).status == 200
        assert await caller.end() == (NO_ERROR, number + 2)


@scenario
async def test_a_draining_port_ends_its_connections_with_their_answers() -> None:
    async with port(echo) as there, calling(there.number) as caller:
        there.serving.draining = True
        number = caller.request(b"body")
        assert (await caller.answer(number)).body == b"body"
        assert await caller.end() == (NO_ERROR, number)


@scenario
async def test_the_last_answer_is_read_though_its_caller_sends_on() -> None:
    """A connection that is closed while something comes is reset, and what was sent on it is lost."""
    async with port(large(3 * MB)) as there, calling(there.number, initial_window_size=4 * MB) as caller:
        caller.h2.increment_flow_control_window(4 * MB)
        there.serving.draining = True
        number = caller.request(b"")
        await caller.send()
        for _ in range(50):
            await caller.send(PingFrame(0, b"12345678"))
            await asyncio.sleep(0.01)
        answer = await caller.answer(number)
        assert (len(answer.body), answer.ended) == (3 * MB, True)


@scenario
async def test_what_is_not_http_2_ends_the_connection() -> None:
    async with port(echo) as there:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.number)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        heard = await asyncio.wait_for(reader.read(), PATIENCE)
        assert b"HTTP/1.1" not in heard
        writer.close()


@pytest.mark.parametrize("seed", range(4))
@scenario
async def test_no_frames_in_disorder_do_more_than_end_their_connection(seed: int) -> None:
    """What comes is made of good frames, some with a byte changed; `port` tells of every unexpected exception."""
    chance = random.Random(seed)
    async with port(echo) as there:
        for _ in range(100):
            reader, writer = await asyncio.open_connection("127.0.0.1", there.number)
            writer.write(PREFACE + SettingsFrame(0).serialize())
            for _ in range(chance.randrange(20)):
                writer.write(disordered(chance))
                await asyncio.sleep(0)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()


def disordered(chance: random.Random) -> bytes:
    number = chance.choice([1, 1, 3, 3, 5, 2])
    ended = [flag for flag in ("END_STREAM", "PADDED", "PRIORITY") if chance.random() < 0.3]
    heads = [(":method", "POST"), (":path", "/v1"), (":scheme", "http"), (":authority", "a")]
    more = [("content-length", "1"), ("expect", "100-continue"), (":status", "100"), ("x", ""), ("host", "a")]
    block = Encoder().encode([*heads, *chance.sample(more, chance.randrange(3))])
    frame = chance.choice(
        [
            HeadersFrame(number, block, flags=["END_HEADERS", *ended]),
            HeadersFrame(number, block, flags=["END_HEADERS", *ended]),
            HeadersFrame(number, block, flags=ended),
            ContinuationFrame(number, block, flags=["END_HEADERS"]),
            DataFrame(number, b"x" * chance.choice([0, 1, 100]), flags=[flag for flag in ended if flag != "PRIORITY"]),
            RstStreamFrame(number, chance.randrange(20)),
            SettingsFrame(0, {chance.randrange(10): chance.choice([0, 1, 16384, 2**31 - 1, 2**32 - 1])}),
            WindowUpdateFrame(chance.choice([0, number]), chance.choice([1, 2**31 - 1])),
            PriorityFrame(number, depends_on=chance.choice([0, 1, 3])),
            PingFrame(0, b"12345678"),
            GoAwayFrame(0),
            PushPromiseFrame(number, 2, block, flags=["END_HEADERS"]),
            ExtensionFrame(chance.randrange(256), number, chance.randrange(256), b"xx"),
        ]
    )
    content = bytearray(frame.serialize())
    if chance.random() < 0.15:
        content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(content)
