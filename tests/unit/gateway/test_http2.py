"""How a connection of HTTP/2 reads requests, answers them and ends."""

import asyncio
import random

import pytest
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

from services.gateway.exchange import Request, Response
from services.gateway.http.http2 import PREFACE
from tests.http2_caller import NO_ERROR, PATIENCE, REFUSED, calling
from tests.http2_port import LIMIT, MB, Held, echo, large, port, refuse, scenario

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
