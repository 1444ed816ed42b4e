"""A connection that speaks HTTP/2."""

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import cast

import structlog
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from hyperframe.frame import GoAwayFrame

from services.gateway.exchange import Request, Response
from services.gateway.http.body import BAD_REQUEST, TIMEOUT, Body
from services.gateway.http.connections import Serving, address_of, unsent_bytes
from services.gateway.http.http2_bounds import STREAMS, Needless, ServerConnection
from services.gateway.http.requests import MOST_HEADERS, answer, read_request

#: What a client of HTTP/2 sends first (RFC 9113, 3.4).
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: The largest frame that is sent, however large a caller takes them: each is copied, and holds up other answers.
_FRAME = 32 * 1024
#: Frames that ask for nothing and cost something: a connection that goes on like this is closed.
_IDLE_FRAMES = (PingReceived, RemoteSettingsChanged, StreamReset)
#: How long a caller has to close a connection on which everything was said, in seconds.
_LINGER_SECONDS = 2.0
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Stream:
    """A request under way.

    Of its body, `held` bytes have not been given back to the caller's window. `ended` is set when the caller has ended
    the stream, `answered` when nobody reads the body any more. `room` is set while the answer need not wait for the
    caller to take more, `moved` is when it last took some, and `gone` is set once the caller has given it up.
    """

    body: Body
    declared: int | None
    expects: bool
    moved: float
    ended: bool = False
    answered: bool = False
    held: int = 0
    room: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False


class Http2Connection(asyncio.Protocol):
    """Reads and writes frames with h2, and answers requests side by side."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._h2 = ServerConnection(serving.settings.header_bytes)
        self._needless = Needless(serving.settings.header_bytes)
        self._streams: dict[int, _Stream] = {}
        self._last = 0
        #: The last stream that is answered, once the connection is to end.
        self._bound: int | None = None
        #: Nothing more is read or sent; the caller does not take what is sent; it is to use another connection.
        self._lost = self._writing_held = self._retiring = False
        self._unsent = 0
        #: When there was last a request under way, and when something of an answer was last taken.
        self._since = self._moved = time.monotonic()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        self._serving.connections.add(self)
        self._address = address_of(transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        if self._lost:
            return
        try:
            events = self._h2.receive_data(data)
        except H2Error as problem:
            log.info("connection ended", why=type(problem).__name__)
            self._close()
            return
        self._needless.came(len(data))
        for event in events:
            if not self._lost:
                self._take(event)
        if self._needless.too_much:
            self._calm("too many bytes that ask for nothing")
        self._flush()

    def eof_received(self) -> bool:
        """Take it that the caller is gone: there is no half of a connection in HTTP/2."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take it that the connection is closed. A request that came whole is run to its end all the same."""
        self._lost = True
        for stream in self._streams.values():
            self._end(stream)
        self._serving.left(self)

    def pause_writing(self) -> None:
        """Send no more of answers until the caller has taken what was sent."""
        self._writing_held = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on sending."""
        self._writing_held = False
        self._transport.resume_reading()
        for stream in self._streams.values():
            stream.room.set()

    # What the port calls.

    def look(self, now: float) -> None:
        """End what takes too long."""
        idle, unsent = self._serving.settings.idle_seconds, unsent_bytes(self._transport)
        if unsent != self._unsent:
            self._unsent, self._moved = unsent, now
        if self._lost:
            if now - max(self._since, self._moved) > (idle if unsent else _LINGER_SECONDS):
                self._transport.abort()
            return
        # An answer that is held up together with all others is not given up alone.
        together = self._writing_held or self._h2.outbound_flow_control_window <= 0
        stuck = bool(unsent)
        for number, stream in self._streams.items():
            if (stream.body.wanted or not stream.held) and stream.body.late(now):
                stream.body.fail(TIMEOUT)
            if not stream.room.is_set() and now - stream.moved > idle:
                stuck = stuck or together
                if not together:
                    self._reset(number, ErrorCodes.CANCEL)
                    self._end(stream)
                    self._flush()
        if stuck and now - self._moved > idle:
            self._transport.abort()
        elif not self._streams and now - self._since > idle:
            self.finish()

    def retire(self) -> None:
        """Close after the next answers."""
        self._retiring = True

    def finish(self) -> None:
        """Take no more requests, and close after those that are under way."""
        if self._bound is None and not self._lost:
            self._bound = self._last
            self._transport.write(GoAwayFrame(0, last_stream_id=self._last).serialize())
        if not self._streams:
            self._close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # Frames.

    def _take(self, event: Event) -> None:
        if isinstance(event, _IDLE_FRAMES) and self._needless.frame():
            self._calm("too many frames that ask for nothing")
        elif isinstance(event, RequestReceived):
            self._begin(event)
        elif isinstance(event, DataReceived):
            self._part(event)
        elif isinstance(event, StreamEnded):
            if (ended := self._streams.get(event.stream_id)) is not None:
                ended.ended = True
                # h2 looks at the length only where the last frame is one of the body.
                if ended.declared is not None and ended.body.received != ended.declared:
                    ended.body.fail(BAD_REQUEST)
                ended.body.end()
        elif isinstance(event, StreamReset):
            if (reset := self._streams.get(event.stream_id)) is not None:
                self._end(reset)
        elif isinstance(event, ConnectionTerminated):
            if event.error_code != ErrorCodes.NO_ERROR:
                self._close()
            else:
                self.finish()
        elif isinstance(event, WindowUpdated) and event.stream_id:
            if (widened := self._streams.get(event.stream_id)) is not None:
                widened.room.set()
        elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
            self._h2.bound_table()
            for stream in self._streams.values():
                stream.room.set()

    def _begin(self, event: RequestReceived) -> None:
        number = event.stream_id
        self._last = max(self._last, number)
        if self._bound is not None or len(self._streams) >= STREAMS:
            self._reset(number, ErrorCodes.REFUSED_STREAM)
            if self._needless.frame():
                self._calm("too many requests at a time")
            return
        named = [(bytes(name), bytes(value)) for name, value in event.headers]
        pseudo = {name: value for name, value in named if name.startswith(b":")}
        headers = [(name, value) for name, value in named if not name.startswith(b":")]
        if b":authority" in pseudo:
            headers = [(b"host", pseudo[b":authority"]), *(header for header in headers if header[0] != b"host")]
        by_name = dict(headers)
        length = by_name.get(b"content-length", b"")
        declared, expects = int(length) if length.isdigit() else None, b"expect" in by_name
        body = Body(self._serving.settings, declared, expects, lambda: self._wanted(number))
        stream = self._streams[number] = _Stream(body, declared, expects, time.monotonic())
        stream.room.set()
        self._needless.head(sum(len(name) + len(value) for name, value in named))
        request, method = None, pseudo.get(b":method", b"")
        if len(headers) <= MOST_HEADERS and _METHOD.fullmatch(method):
            request = read_request(method, pseudo.get(b":path", b""), headers, body, self._address, True)
        self._serving.run(self._answer(number, stream, request))

    def _part(self, event: DataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        length = event.flow_controlled_length or 0
        data = event.data or b""
        self._needless.part(len(data))
        if stream is None:
            self._h2.acknowledge_received_data(length, event.stream_id)
            return
        stream.held += length
        if stream.answered:
            return
        stream.body.feed(bytes(data))
        if stream.body.wanted:
            self._give_back(stream, event.stream_id)

    def _wanted(self, number: int) -> None:
        """Have the body come that somebody reads now."""
        stream = self._streams[number]
        if stream.expects and not (stream.gone or self._lost):
            stream.expects = False
            self._h2.send_headers(number, [(b":status", b"100")])
        self._give_back(stream, number)
        self._flush()

    def _give_back(self, stream: _Stream, number: int) -> None:
        if stream.held and not self._lost:
            self._h2.acknowledge_received_data(stream.held, number)
        stream.held = 0

    def _end(self, stream: _Stream) -> None:
        """Take it that nobody waits for an answer any more."""
        stream.gone = True
        stream.body.fail(BAD_REQUEST)
        stream.room.set()

    def _reset(self, number: int, why: ErrorCodes) -> None:
        self._h2.reset(number, why)
        self._needless.reset()

    def _calm(self, why: str) -> None:
        """Close for what the caller does."""
        if not self._lost:
            log.info("connection ended", why=why)
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._close()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._lost:
            self._transport.write(data)

    def _close(self) -> None:
        """Send what is to be said at last, and close when the caller has: it would not hear it if it still sent."""
        if self._lost:
            return
        self._flush()
        self._lost, self._since = True, time.monotonic()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    # Answers.

    async def _answer(self, number: int, stream: _Stream, request: Request | None) -> None:
        response, _ = await answer(self._serving.application, request)
        stream.answered = True
        try:
            await self._send(number, stream, response, request is not None and request.method == "HEAD")
            if not (stream.ended or stream.gone or self._lost):
                # The rest of a body that nobody reads (RFC 9113, 8.1).
                self._reset(number, ErrorCodes.NO_ERROR)
        except H2Error as problem:
            log.info("answer not taken", why=type(problem).__name__)
        finally:
            self._since = time.monotonic()
            del self._streams[number]
            self._give_back(stream, number)
            self._flush()
            if (self._serving.draining or self._retiring or self._bound is not None) and not self._lost:
                self.finish()

    async def _send(self, number: int, stream: _Stream, response: Response, head_only: bool) -> None:
        if self._lost or stream.gone:
            return
        stream.moved = time.monotonic()
        rest = memoryview(b"" if head_only else response.body)
        headers = [
            (b":status", b"%d" % response.status),
            (b"server", b"orrery"),
            (b"date", self._serving.clock.date()),
            *response.headers,
            (b"content-length", b"%d" % len(response.body)),
        ]
        self._h2.send_headers(number, headers, end_stream=not rest)
        while rest:
            window = self._h2.local_flow_control_window(number)
            room = min(len(rest), window, self._h2.max_outbound_frame_size, _FRAME)
            if room > 0 and not self._writing_held:
                self._h2.send_data(number, rest[:room].tobytes(), end_stream=room == len(rest))
                rest = rest[room:]
                self._moved = stream.moved = time.monotonic()
                self._needless.sent(room)
                self._flush()
            else:
                self._flush()
                stream.room.clear()
                await stream.room.wait()
                if self._lost or stream.gone:
                    return
