"""A caller on HTTP/2 whose every frame a test decides."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame

#: How long a test waits for something that has to come, in seconds.
PATIENCE = 20.0
_READ = 65536


@dataclass
class Answer:
    """What came on one stream: `reset` is the error code of its reset, `ended` tells of its regular end."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    informed: list[int] = field(default_factory=list)
    reset: int | None = None
    ended: bool = False


class _Listening(H2ConnectionStateMachine):
    """Goes on after a GOAWAY, as callers do that wait for answers; h2 would take it for the end."""

    def process_input(self, input_: ConnectionInputs) -> list[Event]:
        return [] if input_ is ConnectionInputs.RECV_GOAWAY else super().process_input(input_)


class Caller:
    """One connection. What it sends is not checked for sense; what comes is kept by stream in `answers`.

    A caller with `takes` off gives no window back for what it reads.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: dict[SettingCodes, int]
    ) -> None:
        self._reader, self._writer = reader, writer
        self.h2 = H2Connection(
            H2Configuration(header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self.h2.state_machine = _Listening()
        self.h2.local_settings = Settings(client=True, initial_values=settings)
        self.h2.max_inbound_frame_size = self.h2.local_settings.max_frame_size
        self.h2.decoder.max_allowed_table_size = self.h2.local_settings.header_table_size
        self.h2.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.takes = True
        self.closed = False
        #: The error code and the last stream of every GOAWAY that came.
        self.goodbyes: list[tuple[int, int]] = []

    def begin(self, *further: tuple[str, str], path: str = "/v1", method: str = "POST", ended: bool = False) -> int:
        """Send the head of a request and return its stream; a further header replaces one of the same name."""
        fixed = {":method": method, ":path": path, ":scheme": "http", ":authority": "localhost"}
        replaced = {name for name, _ in further}
        return self.begin_with([*((n, v) for n, v in fixed.items() if n not in replaced), *further], ended)

    def begin_with(self, headers: Sequence[tuple[str, str]], ended: bool = False, priority: int | None = None) -> int:
        """Send a head of these headers and no others."""
        number = self.h2.get_next_available_stream_id()
        in_order = sorted(headers, key=lambda header: not header[0].startswith(":"))
        self.h2.send_headers(number, in_order, end_stream=ended, priority_weight=priority)
        self.answers[number] = Answer()
        return number

    def request(self, body: bytes, *further: tuple[str, str], path: str = "/v1") -> int:
        """Send a request whose body fits the windows, and return its stream."""
        number = self.begin(*further, path=path)
        self.h2.send_data(number, body, end_stream=True)
        return number

    async def send(self, *raw: Frame | bytes) -> None:
        """Send what was said with `h2`, then frames as they are."""
        frames = (part if isinstance(part, bytes) else part.serialize() for part in raw)
        try:
            self._writer.write(self.h2.data_to_send() + b"".join(frames))
            await asyncio.wait_for(self._writer.drain(), PATIENCE)
        except (ConnectionError, RuntimeError):  # what uvloop raises for a connection that it has closed
            self.closed = True

    async def upload(self, number: int, body: bytes, part: int = 16384) -> int:
        """Send a body as the windows allow, until it or its stream has ended; return how much was sent."""
        sent = 0
        while sent < len(body) and not self._over(number):
            room = min(part, len(body) - sent, self.h2.local_flow_control_window(number))
            if room > 0:
                self.h2.send_data(number, body[sent : sent + room], end_stream=sent + room == len(body))
                sent += room
                await self.send()
            else:
                await self.hear()
        return sent

    def _over(self, number: int) -> bool:
        return self.closed or self.answers[number].ended or self.answers[number].reset is not None

    async def hear(self, seconds: float = PATIENCE) -> bool:
        """Take what comes next, and return whether something did within this time."""
        try:
            data = await asyncio.wait_for(self._reader.read(_READ), seconds)
        except TimeoutError:
            return False
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
        for event in self.h2.receive_data(data):
            self._take(event)
        await self.send()
        return True

    def _take(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self.goodbyes.append((int(event.error_code or 0), event.last_stream_id or 0))
            return
        answer = self.answers.get(getattr(event, "stream_id", 0) or 0)
        if answer is None:
            return
        if isinstance(event, InformationalResponseReceived):
            answer.informed.append(int(next(iter(event.headers or ()))[1]))
        elif isinstance(event, ResponseReceived):
            answer.headers = {str(name): str(value) for name, value in event.headers or ()}
            answer.status = int(answer.headers[":status"])
        elif isinstance(event, DataReceived):
            answer.body += event.data or b""
            if self.takes and event.stream_id is not None:
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, StreamEnded):
            answer.ended = True
        elif isinstance(event, StreamReset):
            answer.reset = int(event.error_code or 0)

    async def until(self, enough: Callable[[], bool]) -> None:
        """Take what comes until it is enough, or the connection is closed."""
        await self.send()
        async with asyncio.timeout(PATIENCE):
            while not self.closed and not enough():
                await self.hear()

    async def answer(self, number: int) -> Answer:
        """Return an answer when its stream, or the connection, has ended."""
        await self.until(lambda: self._over(number))
        return self.answers[number]

    async def end(self) -> tuple[int, int] | None:
        """Return the last GOAWAY when the server has closed the connection; None where it said nothing."""
        await self.until(lambda: False)
        assert self.closed
        return self.goodbyes[-1] if self.goodbyes else None

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except (ConnectionError, RuntimeError, ssl.SSLError):
            self.closed = True


@asynccontextmanager
async def calling(port: int, tls: ssl.SSLContext | None = None, **settings: int) -> AsyncIterator[Caller]:
    """A caller of a port, closed in the end; `settings` are those of HTTP/2, as in `SettingCodes`."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls is not None else None
    )
    caller = Caller(reader, writer, {SettingCodes[name.upper()]: value for name, value in settings.items()})
    try:
        await caller.send()
        yield caller
    finally:
        await caller.close()


CALM, NO_ERROR, REFUSED, CANCEL = (
    int(code)
    for code in (
        ErrorCodes.ENHANCE_YOUR_CALM,
        ErrorCodes.NO_ERROR,
        ErrorCodes.REFUSED_STREAM,
        ErrorCodes.CANCEL,
    )
)
