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
from services.gateway.guard import Asgi, Guard
from services.gateway.settings import HttpSettings
from services.runtime.addresses import bind
from services.runtime.tls import CertificateFiles

#: How often the files of the certificate are looked at, in seconds.
_LOOK_SECONDS = 1.0
#: How long two servers serve together, in seconds: the new one has failed by then, or does not.
_START_SECONDS = 0.5
#: How long an idle HTTP/2 connection is left alone before it is asked whether its caller is there, in milliseconds.
_PING_MILLISECONDS = 20_000

log = structlog.get_logger(__name__)


class HttpServer:
    """A port that answers HTTP/1.1 and HTTP/2, with TLS where there are certificates.

    The port is taken when the object is made, and answers from `serve` on. Raises `ConfigurationError` when it cannot
    be had.
    """

    def __init__(
        self, application: Asgi, address: str, settings: HttpSettings, tls: CertificateFiles | None = None
    ) -> None:
        self._address = address
        self._settings = settings
        self._tls = tls
        self._listening = bind(address)
        self._listening.listen(settings.connections)
        self._connections = Connections(self._listening.getsockname()[1], settings.idle_seconds)
        self._guard = Guard(application, settings, self._connections)
        self._serving: dict[asyncio.Task[None], _Server] = {}

    async def serve(self, stop: asyncio.Event, drain_seconds: float) -> None:
        """Serve until `stop` is set, go on for the time of draining, then answer what is under way and return.

        While draining, callers are told to use other connections. Raises `RuntimeError` when the server ends by itself.
        """
        self._start()
        around = [asyncio.create_task(self._connections.watch()), asyncio.create_task(stop.wait())]
        if self._tls is not None:
            around.append(asyncio.create_task(self._follow(self._tls)))
        log.info("serving", address=self._address, tls=self._tls is not None)
        await asyncio.wait((*self._serving, *around), return_when=asyncio.FIRST_COMPLETED)
        ended = not stop.is_set()
        if not ended:
            self._guard.draining = True
            log.info("draining", seconds=drain_seconds)
            await asyncio.sleep(drain_seconds)
        for task in around:
            task.cancel()
        self._listening.close()
        for server in self._serving.values():
            server.stop()  # type: ignore[no-untyped-call]
        if self._serving:
            _, late = await asyncio.wait(self._serving, timeout=self._settings.stop_seconds)
            if late:
                log.warning("requests ended unanswered", after_seconds=self._settings.stop_seconds)
        if ended:
            raise RuntimeError("the HTTP server ended by itself")

    def _start(self) -> asyncio.Task[None]:
        """Start a server with the certificates that there are now; it takes its part of the connections."""
        server = _Server(self._guard, self._listening, self._settings, self._tls)
        task = asyncio.create_task(server.serve())
        self._serving[task] = server
        return task

    async def _follow(self, files: CertificateFiles) -> None:
        """Serve with certificates that changed; the connections that there are end with their requests."""
        served = files.current()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            latest = files.current()
            if latest is served:
                continue
            served = latest
            before = list(self._serving.items())
            started = self._start()
            await asyncio.wait((started,), timeout=_START_SECONDS)
            if started.done():
                log.error("certificate not taken", file=str(files.chain), kept="the one before")
                del self._serving[started]
                continue
            for task, server in before:
                server.stop()  # type: ignore[no-untyped-call]
                task.add_done_callback(lambda ended: self._serving.pop(ended, None))


class _Server(Server):
    """granian's server on a socket that another one takes connections from too: none is lost between them."""

    def __init__(
        self, application: Asgi, listening: socket.socket, settings: HttpSettings, tls: CertificateFiles | None
    ) -> None:
        super().__init__(
            application,
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
        self._listening = listening
        self._backlog = max(128, settings.connections)

    def _init_shared_socket(self) -> None:
        """Keep granian from opening a port of its own."""

    def _spawn_worker(self, *arguments: Any, **options: Any) -> Any:
        # A worker closes the handle that it was given.
        handle = os.dup(self._listening.fileno())
        self._shd: Any = SocketHolder(handle, False, self._backlog)  # type: ignore[call-arg]
        return super()._spawn_worker(*arguments, **options)
