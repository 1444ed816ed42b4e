"""The HTTP server around the gateway's application: its port, its certificates, its limits and its stop."""

import asyncio
import os
import socket
from typing import Any

import structlog
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.server.embed import Server

from services.gateway.connections import Connections
from services.gateway.exchange import Respond
from services.gateway.guard import Guard
from services.gateway.settings import HttpSettings
from services.runtime.addresses import bind
from services.runtime.tls import CertificateFiles

#: How often the files of the certificate are looked at, in seconds.
_LOOK_SECONDS = 1.0
#: How long two servers serve together, in seconds: the new one has failed by then, or does not.
_START_SECONDS = 0.5
#: How long a server whose certificate has been replaced goes on, in seconds.
_FAREWELL_SECONDS = 5.0
#: How long an idle HTTP/2 connection is left alone before it is asked whether its caller is there, in milliseconds.
_PING_MILLISECONDS = 20_000

log = structlog.get_logger(__name__)


class HttpServer:
    """A port that answers HTTP/1.1 and HTTP/2, with TLS where there are certificates.

    The port is taken when the object is made, and answers from `serve` on. Raises `ConfigurationError` when it cannot
    be had.
    """

    def __init__(
        self, application: Respond, address: str, settings: HttpSettings, tls: CertificateFiles | None = None
    ) -> None:
        self._address = address
        self._settings = settings
        self._tls = tls
        self._listening = bind(address)
        self._listening.listen(settings.connections)
        self._connections = Connections(self._listening.getsockname()[1], settings.idle_seconds)
        self._application = application
        #: Servers that run: the current one, and those that it follows, until their connections have ended.
        self._serving: dict[asyncio.Task[None], _Server] = {}
        self._current: asyncio.Task[None] | None = None
        self._failed = asyncio.Event()

    async def serve(self, stop: asyncio.Event, drain_seconds: float) -> None:
        """Serve until `stop` is set, go on for the time of draining, then answer what is under way and return.

        While draining, callers are told to use other connections. Raises `RuntimeError` when the server ends by itself.
        """
        self._current = self._start()
        around = [asyncio.create_task(work) for work in (self._connections.watch(), stop.wait(), self._failed.wait())]
        if self._tls is not None:
            around.append(asyncio.create_task(self._follow(self._tls)))
        log.info("serving", address=self._address, tls=self._tls is not None)
        await asyncio.wait(around, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            log.info("draining", seconds=drain_seconds)
            for server in self._serving.values():
                server.guard.draining = True
            await asyncio.sleep(drain_seconds)
        for task in around:
            task.cancel()
        self._listening.close()
        for server in self._serving.values():
            server.stop()  # type: ignore[no-untyped-call]
        if self._serving:
            _, late = await asyncio.wait(list(self._serving), timeout=self._settings.stop_seconds)
            if late:
                log.warning("requests ended unanswered", after_seconds=self._settings.stop_seconds)
        if not stop.is_set():
            raise RuntimeError("the HTTP server ended by itself")

    def _start(self) -> asyncio.Task[None]:
        """Start a server with the certificates that there are now; it takes its part of the connections."""
        guard = Guard(self._application, self._settings, self._connections)
        server = _Server(guard, self._listening, self._settings, self._tls)
        task = asyncio.create_task(server.serve())
        self._serving[task] = server
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        del self._serving[task]
        if task is self._current:
            self._failed.set()

    async def _follow(self, files: CertificateFiles) -> None:
        """Serve with certificates that changed; the connections that there are end with their requests."""
        served = files.current()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            latest = files.current()
            if latest is served:
                continue
            served = latest
            before = list(self._serving.values())
            started = self._start()
            await asyncio.wait((started,), timeout=_START_SECONDS)
            if started.done():
                log.error("certificate not taken", file=str(files.chain), kept="the one before")
                continue
            self._current = started
            for server in before:
                server.accept_no_more()
            # Callers that use their connections are told to take another; those that do not are cut off in the end.
            await asyncio.sleep(_FAREWELL_SECONDS)
            for server in before:
                server.stop()  # type: ignore[no-untyped-call]


class _Server(Server):
    """granian's server on a socket that another one takes connections from too: none is lost between them."""

    def __init__(
        self, guard: Guard, listening: socket.socket, settings: HttpSettings, tls: CertificateFiles | None
    ) -> None:
        super().__init__(
            guard,
            interface=Interfaces.ASGINL,
            http=HTTPModes.auto,
            websockets=False,
            backlog=max(128, settings.connections),
            backpressure=settings.connections,
            log_enabled=False,
            http1_settings=HTTP1Settings(
                header_read_timeout=round(settings.idle_seconds * 1000), max_buffer_size=settings.header_bytes
            ),
            http2_settings=HTTP2Settings(
                max_headers_size=settings.header_bytes, keep_alive_interval=_PING_MILLISECONDS
            ),
            ssl_cert=tls.chain if tls else None,
            ssl_key=tls.key if tls else None,
            ssl_protocol_min=SSLProtocols.tls12,
        )
        self.guard = guard
        self._listening = listening
        self._backlog = max(128, settings.connections)

    def _init_shared_socket(self) -> None:
        """Keep granian from opening a port of its own."""

    def _spawn_worker(self, *arguments: Any, **options: Any) -> Any:
        # A worker closes the handle that it was given.
        self._handle = os.dup(self._listening.fileno())
        self._shd: Any = SocketHolder(self._handle, False, self._backlog)  # type: ignore[call-arg]
        return super()._spawn_worker(*arguments, **options)

    def accept_no_more(self) -> None:
        """Leave new connections to others that listen, and have the own ones end with their next request.

        granian can only stop altogether, and drops connections whose TLS handshake is under way. So its handle is made
        that of a socket to which nobody connects.
        """
        self.guard.draining = True
        with socket.create_server(("127.0.0.1", 0), backlog=1) as unknown:
            unknown.setblocking(False)
            os.dup2(unknown.fileno(), self._handle, inheritable=False)
