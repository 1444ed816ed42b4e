"""What a connection that speaks HTTP/2 may cost: h2 with the bounds of a server, and a count of needless frames."""

import time

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.events import Event
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from services.gateway.rates import Bucket

#: How many requests of one connection are under way, those that were given up by their caller included.
STREAMS = 128
#: How much of a body may come before it is read, in bytes, and how much of all bodies.
STREAM_WINDOW, WINDOW = 256 * 1024, 1024 * 1024
#: How many of a connection's streams that are over are remembered.
_CLOSED_STREAMS = 1000
#: The largest table of headers that is kept for a caller, whatever it would like, in bytes.
_TABLE = 4096
#: How many frames that ask for nothing and yet cost something may come a second, and at once.
_IDLE_FRAMES_PER_SECOND, _IDLE_FRAMES_AT_ONCE = 20.0, 1000.0
#: How many bytes may come beyond what heads, bodies and answers explain, and how many each request may bring besides.
_FRAMING, _FRAMING_OF_REQUEST = 128 * 1024, 1024


class _StateMachine(H2ConnectionStateMachine):
    """Goes on when a caller says goodbye, which may still wait for answers (RFC 9113, 6.8), where h2 would not."""

    def process_input(self, input_: ConnectionInputs) -> list[Event]:
        return [] if input_ is ConnectionInputs.RECV_GOAWAY else super().process_input(input_)


class ServerConnection(H2Connection):
    """A server's side of a connection; a request's head may have `head_bytes`."""

    MAX_CLOSED_STREAMS = _CLOSED_STREAMS

    def __init__(self, head_bytes: int) -> None:
        super().__init__(H2Configuration(client_side=False, header_encoding=None))
        self.state_machine = _StateMachine()
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: head_bytes,
            },
        )
        self.decoder.max_header_list_size = head_bytes
        self.initiate_connection()
        self.increment_flow_control_window(WINDOW - self.inbound_flow_control_window)

    def bound_table(self) -> None:
        """Keep the table of the headers that are sent small, whatever the caller's settings allow."""
        if self.encoder.header_table_size > _TABLE:
            self.encoder.header_table_size = _TABLE

    def reset(self, number: int, why: ErrorCodes) -> None:
        """End a stream if it is not over, as it may be when its caller has given it up since."""
        try:
            self.reset_stream(number, why)
        except H2Error:
            return


class Needless:
    """Counts what a caller sends and nobody needs.

    Frames cost much more than their bytes. Those that have the gateway do something, as pings, settings and streams
    that are given up (CVE-2019-9512, 9515 and 2023-44487), have a rate. Of all others the bytes are counted that heads,
    bodies and answers do not explain: empty and tiny parts of bodies, windows given back byte by byte, heads that never
    end (CVE-2019-9511 and 9518), frames of unknown kinds. `head_bytes` is how long a request's head may be.
    """

    def __init__(self, head_bytes: int) -> None:
        self._most = head_bytes + _FRAMING
        self._unexplained = 0
        self._frames = Bucket(_IDLE_FRAMES_PER_SECOND, _IDLE_FRAMES_AT_ONCE, _IDLE_FRAMES_AT_ONCE, time.monotonic())

    def frame(self) -> bool:
        """Count a frame that asks for nothing."""
        return self._frames.take(time.monotonic()) > 0

    def came(self, length: int) -> None:
        """Count bytes that came, whatever they are; call it before those of them are explained that can be."""
        self._unexplained += length

    @property
    def too_much(self) -> bool:
        """Tell whether more bytes came than can be explained."""
        return self._unexplained > self._most

    def head(self, length: int) -> None:
        """Take a request's head of this length for explained, and a few frames that go with a request."""
        self._explain(length + _FRAMING_OF_REQUEST)

    def part(self, length: int) -> None:
        """Take a part of a body for explained, with as many bytes of framing."""
        self._explain(2 * length)

    def sent(self, length: int) -> None:
        """Take the caller's frames for explained that answer to so many bytes of an answer."""
        self._explain(length)

    def reset(self) -> None:
        """Take it that as much of a stream's body as its window has may be on its way, though the stream is over."""
        self._explain(STREAM_WINDOW)

    def _explain(self, length: int) -> None:
        self._unexplained = max(self._unexplained - length, -WINDOW)
