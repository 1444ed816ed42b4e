"""The HTTP port around the gateway's application: its certificates, its bounds and its stop."""

import asyncio
import socket
import ssl
import time

import structlog

from services.gateway.exchange import Respond
from services.gateway.http.connections import Serving
from services.gateway.http.http1 import Http1Connection
from services.gateway.settings import HttpSettings
from services.runtime.addresses import bind
from services.runtime.errors import ConfigurationError
from services.runtime.tls import CertificateFiles, Certificates

#: When TLS may give up an answer that its caller still takes, in seconds: far later than connections are looked at.
_GOODBYE_SECONDS = 3600.0
#: How often the files of the certificate are looked at, in seconds.
_LOOK_SECONDS = 1.0
#: How often connections are looked at within the shortest time that one may have; within which bounds, in seconds.
_LOOKS, _LEAST_SECONDS, _MOST_SECONDS = 20, 0.05, 1.0
#: How many connections are accepted before other work has its turn.
_ACCEPTED_AT_ONCE = 32
#: How long nothing is accepted where that failed, as when the process has no file left, in seconds.
_PAUSE_SECONDS = 0.5

log = structlog.get_logger(__name__)


class HttpServer:
    """A port that answers HTTP/1.1 and HTTP/2, with TLS where there are certificates.

    The port is taken when the object is made, and answers from `serve` on. Raises `ConfigurationError` when it cannot
    be had, and for certificates that TLS does not take: without them it would speak clear text.
    """

    def __init__(
        self, application: Respond, address: str, settings: HttpSettings, tls: CertificateFiles | None = None
    ) -> None:
        self._address = address
        self._settings = settings
        self._tls = tls
        self._certificates: Certificates | None = None
        self._context: ssl.SSLContext | None = None
        if tls is not None and not self._follow_certificate():
            raise ConfigurationError(
                f"TLS does not take the certificate of {tls.chain} and {tls.key}: see the line before"
            )
        self._listening = bind(address)
        self._listening.setblocking(False)
        self._listening.listen(max(128, settings.connections))
        self._serving = Serving(application, settings, self._ended)
        #: What makes connections of those that were accepted, by their handshakes.
        self._beginning: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._none_left = asyncio.Event()

    async def serve(self, stop: asyncio.Event, drain_seconds: float) -> None:
        """Serve until `stop` is set, go on for the time of draining, then answer what is under way and return.

        While draining, callers are told to use other connections.
        """
        around = [asyncio.create_task(self._look())]
        if self._tls is not None:
            around.append(asyncio.create_task(self._follow()))
        self._accept_more()
        log.info("serving", address=self._address, tls=self._tls is not None)
        await stop.wait()
        log.info("draining", seconds=drain_seconds)
        self._serving.draining = True
        await asyncio.sleep(drain_seconds)
        await self._close()
        for task in around:
            task.cancel()

    async def _close(self) -> None:
        self._accept_no_more()
        self._listening.close()
        for task in self._beginning:
            task.cancel()
        for connection in tuple(self._serving.connections):
            connection.finish()
        self._none_left.clear()
        if self._open:
            try:
                await asyncio.wait_for(self._none_left.wait(), self._settings.stop_seconds)
            except TimeoutError:
                log.warning("requests ended unanswered", after_seconds=self._settings.stop_seconds)
        for connection in tuple(self._serving.connections):
            connection.abort()

    # Connections.

    def _accept_more(self) -> None:
        if not self._accepting and self._listening.fileno() >= 0 and self._open < self._settings.connections:
            self._accepting = True
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept_no_more(self) -> None:
        if self._accepting:
            self._accepting = False
            asyncio.get_running_loop().remove_reader(self._listening)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            if self._open >= self._settings.connections:
                self._accept_no_more()
                return
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                log.error("no connection accepted", problem=problem.strerror)
                self._accept_no_more()
                asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self._accept_more)
                return
            task = asyncio.get_running_loop().create_task(self._connect(accepted))
            self._beginning.add(task)
            task.add_done_callback(self._begun)

    async def _connect(self, accepted: socket.socket) -> None:
        """Make a connection of what was accepted, after its handshake where there is TLS."""
        accepted.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Http1Connection(self._serving),
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=self._settings.idle_seconds if self._context is not None else None,
                ssl_shutdown_timeout=_GOODBYE_SECONDS if self._context is not None else None,
            )
        except OSError as problem:  # TLS's errors are such, too
            log.debug("no handshake", problem=str(problem))
            accepted.close()

    def _begun(self, task: asyncio.Task[None]) -> None:
        self._beginning.discard(task)
        self._ended()

    @property
    def _open(self) -> int:
        return len(self._beginning) + len(self._serving.connections)

    def _ended(self) -> None:
        if not self._open:
            self._none_left.set()
        self._accept_more()

    async def _look(self) -> None:
        """End what takes too long, until it is cancelled."""
        shortest = min(self._settings.idle_seconds, self._settings.body_seconds)
        pause = min(_MOST_SECONDS, max(_LEAST_SECONDS, shortest / _LOOKS))
        while True:
            await asyncio.sleep(pause)
            now = time.monotonic()
            for connection in tuple(self._serving.connections):
                connection.look(now)

    # Certificates.

    async def _follow(self) -> None:
        """Have new connections use certificates that changed, and those that there are end after their requests."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._follow_certificate():
                for connection in tuple(self._serving.connections):
                    connection.retire()

    def _follow_certificate(self) -> bool:
        """Take the certificates that there are now; tell whether they are others."""
        if self._tls is None:
            return False
        latest = self._tls.current()
        if latest is self._certificates:
            return False
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2", "http/1.1"])
        try:
            context.load_cert_chain(self._tls.chain, self._tls.key)
        except OSError as problem:  # they are just being changed
            log.error("certificate not taken", file=str(self._tls.chain), problem=str(problem), kept="the one before")
            return False
        self._certificates, self._context = latest, context
        return True
