"""What a caller can take of a connection of HTTP/2, and how long."""

import asyncio

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.http2_caller import CALM, CANCEL, NO_ERROR, REFUSED, calling
from tests.http2_port import LIMIT, MB, Held, echo, large, port, scenario

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
