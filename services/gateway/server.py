"""The gateway as a process: its settings, its connections, and the HTTP server around the application."""

import asyncio
import signal
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog
import uvloop
from orrery.store.v1 import store_pb2

from services.gateway.access import Access
from services.gateway.access_table import AccessFollower
from services.gateway.app import Application
from services.gateway.audit import Audit
from services.gateway.command import Features
from services.gateway.embedding import Embedding
from services.gateway.health import Health
from services.gateway.hosts import Hosts
from services.gateway.http.server import HttpServer
from services.gateway.limits import Limits
from services.gateway.metrics import GatewayMetrics
from services.gateway.observer import Observer
from services.gateway.pages import Pages
from services.gateway.settings import Settings
from services.gateway.storage import Storage
from services.runtime.addresses import check_free, is_loopback
from services.runtime.channels import open_async_channel
from services.runtime.line_rate import LineRate
from services.runtime.tls import CertificateFiles

DEFAULT_KEYSPACE = "default_keyspace"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How a gateway runs.

    `http` is HOST:PORT. `store` and `embedder` are addresses of RPC servers. `token` None asks callers for none,
    which is allowed on loopback only. `database` is the one of host names that name none. Timeouts are in seconds, for
    one call each. `tls` has the certificates to call services with, needed where they are on the network; `http_tls`
    those of the HTTP port. When told to stop, the gateway serves for `drain_seconds` more.
    """

    store: str
    embedder: str
    token: str | None = field(repr=False)
    http: str = "127.0.0.1:8181"
    database: str = "default"
    limits: Limits = field(default_factory=Limits)
    features: Features = field(default_factory=Features)
    store_timeout_seconds: float = 20.0
    embedder_timeout_seconds: float = 60.0
    health_timeout_seconds: float = 2.0
    tls: CertificateFiles | None = None
    hosts: Hosts = field(default_factory=Hosts)
    http_tls: CertificateFiles | None = None
    drain_seconds: float = 0.0
    settings: Settings = field(default_factory=Settings)


def run(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `ValueError` for settings that do not go together (no token on an address open to the network) and
    `ConfigurationError` for an address that is taken.
    """
    if settings.token is None and not is_loopback(settings.http):
        raise ValueError(f"{settings.http} is open to the network: serving it without a token is not allowed")
    check_free(settings.http)
    uvloop.run(_serve(settings))


async def _serve(settings: GatewaySettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        open_async_channel(settings.store, settings.tls) as store,
        open_async_channel(settings.embedder, settings.tls) as embedder,
    ):
        storage = Storage(store, settings.store_timeout_seconds)
        own = settings.settings
        follower = AccessFollower(
            store,
            embedder,
            own.access,
            settings.database,
            forget=storage.forget_database,
            create_default=lambda: _ensure_default_keyspace(storage, settings.database),
        )
        if not await _unless_stopped(follower.begin(), stop):
            log.info("stopped")
            return
        if settings.database not in follower.table.dropping:
            await _ensure_default_keyspace(storage, settings.database)
        following = asyncio.create_task(follower.follow())
        metrics = GatewayMetrics(own.metrics)
        audit = Audit(own.audit.file)
        application = Application(
            access=Access(settings.token, settings.database, settings.hosts, follower, own.rates, audit),
            storage=storage,
            embedding=Embedding(embedder, settings.embedder_timeout_seconds),
            limits=settings.limits,
            features=settings.features,
            pages=Pages(
                Health({"store": store, "embedder": embedder}, settings.health_timeout_seconds, stop),
                metrics,
                settings.limits,
            ),
            observer=Observer(metrics, own.log, LineRate(own.log.slow_lines_per_second)),
        )
        server = HttpServer(application, settings.http, settings.settings.http, settings.http_tls)
        await server.serve(stop, settings.drain_seconds)
        following.cancel()
        await audit.settle()
        log.info("stopped")


async def _unless_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Do some work, and tell whether it was done; not where `stop` is set before. Raises what the work raises."""
    done, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((done, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if done.done():
        await done
        return True
    done.cancel()
    return False


async def _ensure_default_keyspace(storage: Storage, database: str) -> None:
    """Give a new database its first keyspace; one whose keyspaces were dropped or renamed keeps what it has."""
    listing = store_pb2.ListKeyspacesRequest(database=database)
    response = await storage.remote.call(storage.rpc.ListKeyspaces, listing)
    if not response.keyspaces:
        creation = store_pb2.CreateKeyspaceRequest(database=database, keyspace=DEFAULT_KEYSPACE)
        await storage.remote.call(storage.rpc.CreateKeyspace, creation)
