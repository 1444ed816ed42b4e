"""A connection that speaks HTTP/1.1 or 1.0, or turns out to speak HTTP/2."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import httptools

from services.gateway.exchange import Request, Response
from services.gateway.http.body import BAD_REQUEST, TIMEOUT, Body
from services.gateway.http.connections import Serving, address_of, unsent_bytes
from services.gateway.http.http2 import PREFACE, Http2Connection
from services.gateway.http.requests import MOST_HEADERS, answer, read_request

_HEAD_TOO_LARGE = 431
#: How many requests may wait for the answer to the one before: the connection closes after so many.
_PIPELINED = 16
#: How much of a body is taken before somebody reads it, in bytes.
_HELD_BYTES = 256 * 1024
#: For each byte of a body so many may come that only tell where its chunks begin and end.
_FRAMING = 8
#: What came is parsed in slices, and after each it is looked how much of it was no body. As small as the least
#: `header_bytes`.
_SLICE_BYTES = 8192
#: How long what a caller still sends is thrown away, so that it sees why it was refused, in seconds.
_LINGER_SECONDS = 2.0

_STATUS_LINES = {
    each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\nserver: orrery\r\ndate: ".encode() for each in HTTPStatus
}


@dataclass(slots=True, eq=False)
class _Exchange:
    """A request with its answer to come; `refused` is the status of one that was never clear."""

    request: Request | None = None
    keep_alive: bool = False
    persistent: bool = False
    refused: int = BAD_REQUEST


class Http1Connection(asyncio.Protocol):
    """Reads requests with llhttp, and answers them one after the other."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._parser = httptools.HttpRequestParser(self)
        #: The first bytes, until they tell which version is spoken.
        self._first: bytes | None = b""
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_head = True
        self._upgrading = False
        #: Bytes that came and are neither a body's nor can they be what a body of its length needs around it.
        self._framing = 0
        #: The body that is read, the request that is being answered, and those that wait.
        self._body: Body | None = None
        self._current: _Exchange | None = None
        self._waiting: deque[_Exchange] = deque()
        #: Nothing more is read; nothing more comes; nothing more is answered after what is under way; it is over.
        self._deaf = self._ended = self._finishing = self._lost = False
        #: As many requests wait as may: nothing is read behind the last of them.
        self._full = False
        self._lingering = False
        self._writing_held = self._reading_held = False
        self._unsent = 0
        self._since = time.monotonic()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        self._serving.connections.add(self)
        self._address = address_of(transport)
        secured = transport.get_extra_info("ssl_object")
        self._secured = secured is not None
        if secured is not None and secured.selected_alpn_protocol() == "h2":
            self._become_http2(b"")

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        if self._deaf:
            return
        if self._first is not None:
            self._first += data
            if PREFACE.startswith(self._first[: len(PREFACE)]):
                if len(self._first) >= len(PREFACE):
                    self._become_http2(self._first)
                return
            data, self._first = self._first, None
        for start in range(0, len(data), _SLICE_BYTES):
            part = data[start : start + _SLICE_BYTES]
            self._framing += len(part)
            self._parse(part)
            self._bound_framing()
        self._regulate()

    def eof_received(self) -> bool:
        """Take it that the caller sends no more; it may still wait for answers."""
        self._ended = self._deaf = self._finishing = True
        if self._body is not None:
            self._body.fail(BAD_REQUEST)
        return self._current is not None and not self._secured

    def connection_lost(self, exc: Exception | None) -> None:
        """Take it that the connection is closed. A request that came whole is run to its end all the same."""
        self._deaf = self._lost = True
        self._waiting.clear()
        if self._body is not None:
            self._body.fail(BAD_REQUEST)
        self._serving.left(self)

    def pause_writing(self) -> None:
        """Answer no more requests until the caller has taken what was answered."""
        self._writing_held = True
        self._regulate()

    def resume_writing(self) -> None:
        """Go on answering."""
        self._writing_held = False
        self._next()

    # What the port calls.

    def look(self, now: float) -> None:
        """End what takes too long."""
        unsent = unsent_bytes(self._transport)
        if unsent != self._unsent:
            self._unsent, self._since = unsent, now
        if self._lingering or self._transport.is_closing():  # TLS waits for its caller to close it, too
            if now - self._since > (self._serving.settings.idle_seconds if unsent else _LINGER_SECONDS):
                self._transport.abort()
        elif self._body is not None and (self._body.wanted or not self._reading_held) and self._body.late(now):
            self._body.fail(TIMEOUT)
        elif (self._current is None or unsent) and now - self._since > self._serving.settings.idle_seconds:
            self._transport.abort()

    def retire(self) -> None:
        """Close with the next answer."""
        self._finishing = True

    def finish(self) -> None:
        """Close after the requests that are under way."""
        self._finishing = True
        if self._current is None and not self._lingering:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a head."""
        if not self._upgrading:
            self._in_head, self._target, self._headers = True, b"", []

    def on_url(self, part: bytes) -> None:
        """Take a part of a request's target."""
        if not self._upgrading:
            self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those that follow a body are not wanted."""
        if self._in_head and not self._upgrading and len(self._headers) <= MOST_HEADERS:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Begin the request whose head has come."""
        if self._upgrading:  # the head that `_stay` made up
            self._upgrading = False
            return
        if self._deaf:
            return
        self._in_head = False
        self._upgrading = self._parser.should_upgrade()
        headers, version = self._headers, self._parser.get_http_version()
        length = len(self._target) + sum(len(name) + len(value) for name, value in headers)
        if len(headers) > MOST_HEADERS or length > self._serving.settings.header_bytes:
            self._refuse(_HEAD_TOO_LARGE)
            return
        exchange = _Exchange(persistent=version == "1.0")
        by_name = dict(headers)
        # The parser has refused what is no number, and both together.
        declared = None if b"transfer-encoding" in by_name else int(by_name.get(b"content-length", b"0"))
        expects = b"expect" in by_name and version == "1.1"  # HTTP/1.0 has no such answer
        body = Body(self._serving.settings, declared, expects, lambda: self._wanted(expects))
        exchange.keep_alive = self._parser.should_keep_alive()
        # Chunks are unknown to HTTP/1.0 (RFC 9112, 6.1): a proxy may have taken them for no body.
        if version == "1.1" or (version == "1.0" and declared is not None):
            method = self._parser.get_method()
            exchange.request = read_request(method, self._target, headers, body, self._address, version == "1.1")
        self._body = body
        self._enqueue(exchange)

    def on_body(self, part: bytes) -> None:
        """Take a part of a body."""
        # Nothing is saved up for later: what follows a large body could be as long as that.
        self._framing = max(0, self._framing - len(part) * (1 + _FRAMING))
        if self._body is not None:
            self._body.feed(part)

    def on_message_complete(self) -> None:
        """End a request; one that asks for another protocol has its body still to come."""
        if self._upgrading:
            return
        self._bound_framing()
        self._framing = 0
        self._in_head = True
        if self._body is not None:
            self._body.end()  # which changes nothing where it has failed
        self._body = None
        self._deaf = self._deaf or self._full

    def _bound_framing(self) -> None:
        if self._framing > self._serving.settings.header_bytes:
            self._refuse(_HEAD_TOO_LARGE if self._in_head else BAD_REQUEST)

    def _parse(self, data: bytes) -> None:
        if self._deaf:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(BAD_REQUEST)

    def _stay(self, rest: bytes) -> None:
        """Read on after a request that asks for another protocol, as Java's HTTP client does: it stays HTTP/1.1.

        The parser leaves off behind such a head, so another one is told what it needs to know of the body.
        """
        framing = [
            b"%s: %s\r\n" % (name, value)
            for name, value in self._headers
            if name in (b"content-length", b"transfer-encoding")
        ]
        self._parser = httptools.HttpRequestParser(self)
        self._parse(b"POST / HTTP/1.1\r\n" + b"".join(framing) + b"\r\n" + rest)

    def _become_http2(self, first: bytes) -> None:
        self._serving.connections.discard(self)
        successor = Http2Connection(self._serving)
        self._transport.set_protocol(successor)
        successor.connection_made(self._transport)
        if first:
            successor.data_received(first)

    # Answers.

    def _refuse(self, status: int) -> None:
        """Answer that what came is no request, after the requests before it, and read no more."""
        if self._deaf:
            return
        self._deaf = True
        if self._body is not None:
            self._body.fail(status)
        else:
            self._enqueue(_Exchange(refused=status))

    def _enqueue(self, exchange: _Exchange) -> None:
        if self._current is not None:
            self._waiting.append(exchange)
            self._full = self._full or len(self._waiting) >= _PIPELINED
            exchange.keep_alive = exchange.keep_alive and not self._full
        else:
            self._start(exchange)

    def _start(self, exchange: _Exchange) -> None:
        self._current = exchange
        self._serving.run(self._answer(exchange))

    def _next(self) -> None:
        if self._current is None and self._waiting and not self._writing_held:
            self._start(self._waiting.popleft())
        self._regulate()

    async def _answer(self, exchange: _Exchange) -> None:
        if exchange.request is None:
            response, whole = Response(exchange.refused), False
        else:
            response, whole = await answer(self._serving.application, exchange.request)
        self._current = None
        if self._over:
            return
        ending = self._finishing or self._serving.draining or self._deaf
        closing = not (whole and exchange.keep_alive) or (ending and not self._waiting)
        self._write(exchange, response, closing)
        self._since = time.monotonic()
        if not closing:
            self._next()
        elif (whole and not self._deaf) or self._ended or not self._transport.can_write_eof():
            self._transport.close()
        else:
            # Closed while its caller sends, a connection is reset, and the answer lost with it.
            self._deaf = self._lingering = True
            self._waiting.clear()
            self._transport.write_eof()
            self._regulate()

    def _write(self, exchange: _Exchange, response: Response, closing: bool) -> None:
        head = [_STATUS_LINES[response.status], self._serving.clock.date(), b"\r\n"]
        for name, value in response.headers:
            head += name, b": ", value, b"\r\n"
        if closing:
            head.append(b"connection: close\r\n")
        elif exchange.persistent:
            head.append(b"connection: keep-alive\r\n")
        head.append(b"content-length: %d\r\n\r\n" % len(response.body))
        if exchange.request is None or exchange.request.method != "HEAD":
            head.append(response.body)
        self._transport.write(b"".join(head))

    @property
    def _over(self) -> bool:
        return self._lost or self._transport.is_closing()

    def _wanted(self, expects: bool) -> None:
        """Have the body come that somebody reads now."""
        if expects and not self._over:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._regulate()

    def _regulate(self) -> None:
        """Read from the caller, or let it wait while there is enough to do."""
        body = self._body
        much = body is not None and not body.wanted and body.received > _HELD_BYTES
        held = not self._lingering and (self._writing_held or bool(self._waiting) or much)
        if held is not self._reading_held and not self._over:
            self._reading_held = held
            if held:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
                if body is not None:
                    body.restart()
