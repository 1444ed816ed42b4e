"""What somebody may send to the HTTP port over HTTP/2 who has no good intentions, frame by frame."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from pathlib import Path

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.http2_caller import CALM, CANCEL, PATIENCE, calling
from tests.live import Orrery

#: What idle and slow callers are given in these tests, in seconds.
SHORT = 1.5
LIMITS = {
    "ORRERY_GATEWAY_HTTP_IDLE_SECONDS": str(SHORT),
    "ORRERY_GATEWAY_HTTP_BODY_SECONDS": str(SHORT),
    "ORRERY_GATEWAY_HTTP_HEADER_BYTES": "16384",
    "ORRERY_GATEWAY_HTTP_DISCARD_BYTES": "1000000",
}
BODY = b'{"findKeyspaces":{}}'
MB = 1024 * 1024


class Attacked:
    """The server, its port, and the memory of its gateway."""

    def __init__(self, live: Orrery) -> None:
        self.live = live
        self.port = int(live.url.rpartition(":")[2])
        self.head = (("token", live.token), ("content-type", "application/json"))

    async def alive(self) -> bool:
        """Tell whether another caller is answered."""
        async with calling(self.port) as caller:
            answer = await caller.answer(caller.request(BODY, *self.head))
            return answer.status == 200 and b"default_keyspace" in answer.body

    def memory(self) -> int:
        """Return how many bytes of memory the gateway has."""
        pages = int(Path(f"/proc/{self.live.child('gateway')}/statm").read_text().split()[1])
        return pages * 4096


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with Orrery(tmp_path_factory.mktemp("attacked") / "data", environment=LIMITS) as live:
        yield Attacked(live)


def scenario(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*arguments: object, **named: object) -> None:
        asyncio.run(test(*arguments, **named))

    return run


@scenario
async def test_the_requests_below_are_answered_without_their_faults(attacked: Attacked) -> None:
    assert await attacked.alive()


FLOODS = {
    "pings": PingFrame(0, b"12345678").serialize(),
    "settings": SettingsFrame(0, {4: 1}).serialize(),
    "windows": WindowUpdateFrame(0, 1).serialize(),
    "empty parts of a body": DataFrame(1).serialize(),
    "frames that nobody knows": ExtensionFrame(0xEE, 1).serialize(),
    "resets of what is over": RstStreamFrame(3).serialize(),
}


@pytest.mark.parametrize("flood", FLOODS)
@scenario
async def test_a_flood_of_frames_ends_its_own_connection_only(attacked: Attacked, flood: str) -> None:
    async with calling(attacked.port) as caller:
        caller.begin(*attacked.head)
        caller.h2.reset_stream(caller.request(b"", *attacked.head))
        await caller.send()
        others = asyncio.create_task(attacked.alive())
        sending = asyncio.create_task(caller.send(FLOODS[flood] * 40_000))
        assert (await caller.end() or (None,))[0] == CALM
        await sending
        assert await others


@scenario
async def test_requests_that_are_given_up_at_once_without_end(attacked: Attacked) -> None:
    async with calling(attacked.port) as caller:
        for _ in range(3000):
            caller.h2.reset_stream(caller.request(BODY, *attacked.head))
            caller.answers.clear()
        sending = asyncio.create_task(caller.send())
        assert (await caller.end() or (None,))[0] == CALM
        await sending
    assert await attacked.alive()


@scenario
async def test_more_streams_than_are_allowed_end_the_connection(attacked: Attacked) -> None:
    async with calling(attacked.port) as caller:
        for _ in range(200):
            caller.begin(*attacked.head)
        await caller.send()
        assert await caller.end() is not None
    assert await attacked.alive()


@pytest.mark.parametrize("part", [b"", b"\x00" * 16384], ids=["empty", "long"])
@scenario
async def test_a_head_that_never_ends(attacked: Attacked, part: bytes) -> None:
    async with calling(attacked.port) as caller:
        await caller.send(HeadersFrame(1, b"").serialize() + ContinuationFrame(1, part).serialize() * 1000)
        assert await caller.end() is not None


@scenario
async def test_a_head_that_is_much_larger_than_its_bytes(attacked: Attacked) -> None:
    """A value is sent once, and named a thousand times (CVE-2016-6581)."""
    async with calling(attacked.port) as caller:
        caller.begin(*(("x", "y" * 3000),) * 1000, ended=True)
        await caller.send()
        assert (await caller.end() or (None,))[0] == CALM


@scenario
async def test_who_is_refused_and_does_not_take_it_cannot_fill_the_memory(attacked: Attacked) -> None:
    """Without a token: the answer waits for the caller, whose bodies would be held meanwhile."""
    before = attacked.memory()
    async with calling(attacked.port, initial_window_size=0) as caller:
        numbers = [caller.begin(("content-type", "application/json")) for _ in range(8)]
        await caller.send()
        deadline = time.monotonic() + SHORT
        while time.monotonic() < deadline and not caller.closed:
            for number in numbers:
                while (
                    caller.answers[number].reset is None and (room := caller.h2.local_flow_control_window(number)) > 0
                ):
                    caller.h2.send_data(number, b"x" * min(16384, room))
                await caller.send()
            await caller.hear(0.01)
    assert attacked.memory() - before < 32 * MB
    assert await attacked.alive()


@scenario
async def test_half_a_body_is_not_run_though_it_is_a_whole_command(attacked: Attacked) -> None:
    creation = b'{"createKeyspace":{"name":"half"}}'
    length = ("content-length", str(len(creation) + 10))
    async with calling(attacked.port) as caller:
        number = caller.begin(*attacked.head, length)
        caller.h2.send_data(number, creation)
        caller.h2.send_headers(number, [("x", "trailer")], end_stream=True)
        assert (await caller.answer(number)).status == 400
        caller.h2.send_data(caller.begin(*attacked.head), creation)
        await caller.send()
    async with calling(attacked.port) as caller:
        assert b'"half"' not in (await caller.answer(caller.request(BODY, *attacked.head))).body


@pytest.mark.parametrize("content", [b"", b"\x00", HeadersFrame(1, b"\x82").serialize(), b"\x00\x40\x00\x00"])
@scenario
async def test_a_connection_that_nobody_uses_is_closed(attacked: Attacked, content: bytes) -> None:
    async with calling(attacked.port) as caller:
        started = time.monotonic()
        await caller.send(content)
        await caller.end()
        assert time.monotonic() - started < PATIENCE


@scenario
async def test_a_body_that_comes_byte_by_byte_is_given_up(attacked: Attacked) -> None:
    async with calling(attacked.port) as caller:
        number = caller.begin(*attacked.head)
        answer = caller.answers[number]
        for position in range(len(BODY)):
            if answer.status:
                break
            caller.h2.send_data(number, BODY[position : position + 1])
            await caller.send()
            await caller.hear(SHORT / 4)
        assert answer.status == 408


@scenario
async def test_a_body_over_the_limit_is_refused_unread(attacked: Attacked) -> None:
    async with calling(attacked.port) as caller:
        answer = await caller.answer(caller.begin(*attacked.head, ("content-length", "999999999")))
        assert answer.status == 413
        assert (await caller.answer(caller.request(BODY, *attacked.head))).status == 200


@scenario
async def test_an_answer_that_nobody_takes_is_given_up(attacked: Attacked) -> None:
    async with calling(attacked.port, initial_window_size=1) as caller:
        caller.takes = False
        number = caller.request(BODY, *attacked.head)
        answer = await caller.answer(number)
        assert (answer.status, len(answer.body), answer.reset) == (200, 1, CANCEL)


@scenario
async def test_after_all_that_the_gateway_is_well(attacked: Attacked) -> None:
    assert await attacked.alive()
