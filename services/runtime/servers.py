"""RPC servers with health checks, reflection, mutual TLS, a list of callers and a stop that loses no call."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.runtime import reflection
from services.runtime.addresses import is_loopback, split_host_port
from services.runtime.callers import VARIABLE, AsyncCallerInterceptor, CallerInterceptor, Callers
from services.runtime.channels import KEEPALIVE_SECONDS, MESSAGE_OPTIONS
from services.runtime.errors import ConfigurationError
from services.runtime.rpc import AsyncErrorInterceptor
from services.runtime.tls import CertificateFiles, server_credentials

#: How long calls under way have for their answers when a server stops, in seconds.
GRACE_SECONDS = 25.0
#: How long a server that is to stop still takes calls, in seconds: callers that watch its health send no more.
_NOTICE_SECONDS = 0.3
#: How old a connection gets, in seconds. Its calls are answered, and the caller looks up addresses anew, and shows
#: and checks certificates.
_CONNECTION_SECONDS = 600
#: Threads of a threaded server for health checks and reflection.
_OTHER_THREADS = 4
_OPTIONS = (
    *MESSAGE_OPTIONS,
    # Callers ask for a sign of life more often than gRPC expects them to.
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_SECONDS * 500),
    ("grpc.keepalive_permit_without_calls", 1),
)
_NETWORK_OPTIONS = (*_OPTIONS, ("grpc.max_connection_age_ms", _CONNECTION_SECONDS * 1000))
#: A health check is a few bytes.
_HEALTH_OPTIONS = (("grpc.max_receive_message_length", 4096), ("grpc.max_concurrent_streams", 16))

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RpcSecurity:
    """How a server is kept from callers that have no business with it.

    With `tls`, RPCs on HOST:PORT are mutual TLS, and `callers` says who may call what; without, only unix sockets and
    loopback addresses are listened on. `health` is HOST:PORT of a server with nothing but health checks, without TLS,
    for those who can make no certificate theirs, such as Kubernetes' probes.
    """

    tls: CertificateFiles | None = None
    callers: Callers | None = None
    health: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Return what `ORRERY_RPC_TLS_CA`, `_CERT` and `_KEY`, `ORRERY_RPC_CALLERS` and `ORRERY_HEALTH` say.

        Raises `ConfigurationError` for what is not valid, TLS without a list of callers included.
        """
        tls = CertificateFiles.of_rpcs(environment)
        callers = None if tls is None else Callers.parse(environment.get(VARIABLE, ""))
        health_address = environment.get("ORRERY_HEALTH") or None
        if health_address is not None:
            try:
                split_host_port(health_address)
            except ValueError as problem:
                raise ConfigurationError(f"ORRERY_HEALTH: {problem}") from None
        return cls(tls, callers, health_address)


_ALONE = RpcSecurity()


def check_listen_address(address: str, tls: CertificateFiles | None = None) -> None:
    """Refuse an address that would offer RPCs to the network without authentication.

    Raises `ValueError` for anything but `unix:PATH` and loopback addresses, unless callers show certificates: without,
    only processes that may open the socket's file, or run on this machine, may call.
    """
    if tls is None and not address.startswith("unix:") and not is_loopback(address):
        raise ValueError(
            f"cannot listen on {address!r}: RPCs carry no authentication without TLS. Set ORRERY_RPC_TLS_CA, "
            f"ORRERY_RPC_TLS_CERT, ORRERY_RPC_TLS_KEY and {VARIABLE}, or listen on unix:PATH or a loopback address "
            "such as 127.0.0.1:8182"
        )


def _prepare_socket(address: str) -> None:
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = path.parent.stat()
        if owner.st_uid != os.geteuid() or owner.st_mode & 0o022:
            raise ValueError(f"cannot listen in {path.parent}: it belongs to, or can be written by, other users")
        path.unlink(missing_ok=True)


def _names(service_names: tuple[str, ...]) -> tuple[str, ...]:
    return (*service_names, health.SERVICE_NAME, reflection.SERVICE_NAME)


def _is_secured(address: str, security: RpcSecurity) -> bool:
    """Tell whether an address is served with TLS. A unix socket is its user's alone and needs none."""
    return security.tls is not None and not address.startswith("unix:")


def _bind(server: grpc.Server | grpc.aio.Server, address: str, security: RpcSecurity) -> None:
    if security.tls is not None and _is_secured(address, security):
        server.add_secure_port(address, server_credentials(security.tls))
    else:
        server.add_insecure_port(address)


def _log_serving(address: str, security: RpcSecurity) -> None:
    ends = None
    if security.tls is not None and _is_secured(address, security):
        ends = security.tls.current().expiry().isoformat()
    log.info("serving", address=address, certificate_ends=ends, health=security.health)


def _options(address: str) -> tuple[tuple[str, int], ...]:
    return _OPTIONS if address.startswith("unix:") else _NETWORK_OPTIONS


def serve_threaded(
    address: str,
    register: Callable[[grpc.Server], None],
    service_names: tuple[str, ...],
    *,
    on_serving: Callable[[], None],
    on_stopping: Callable[[], None] = lambda: None,
    on_stop: Callable[[], None],
    interceptors: Sequence[grpc.ServerInterceptor],
    security: RpcSecurity = _ALONE,
    grace_seconds: float = GRACE_SECONDS,
) -> None:
    """Serve RPCs on threads, call `on_serving`, go on until SIGTERM or SIGINT, then drain and call `on_stop`.

    `on_stopping` comes before the draining: it ends streams that callers would go on with. `interceptors` come first
    come first, one that answers errors among them. What they give no pool of its own runs on a few threads.

    Raises `ValueError` for an address that is open to the network without TLS, `RuntimeError` when it cannot be bound.
    """
    check_listen_address(address, security.tls)
    _prepare_socket(address)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    known: list[grpc.ServerInterceptor] = []
    if security.callers is not None and _is_secured(address, security):
        known.append(CallerInterceptor(security.callers))
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=_OTHER_THREADS, thread_name_prefix="rpc"),
        interceptors=[*known, *interceptors],
        options=_options(address),
    )
    register(server)
    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_reflection(server, _names(service_names))
    _bind(server, address, security)
    probed = _health_server(security.health, checks)
    server.start()
    for name in ("", *service_names):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    if probed is not None:
        probed.start()
    _log_serving(address, security)
    on_serving()
    stop.wait()
    checks.enter_graceful_shutdown()
    if not address.startswith("unix:"):
        time.sleep(_NOTICE_SECONDS)
    on_stopping()
    server.stop(grace_seconds).wait()
    if probed is not None:
        probed.stop(None).wait()
    on_stop()
    log.info("stopped")


def _health_server(address: str | None, checks: health.HealthServicer) -> grpc.Server | None:
    if address is None:
        return None
    pool = futures.ThreadPoolExecutor(max_workers=2, thread_name_prefix="rpc-health")
    server = grpc.server(pool, options=_HEALTH_OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    server.add_insecure_port(address)
    return server


async def serve_async(
    address: str,
    register: Callable[[grpc.aio.Server], None],
    service_names: tuple[str, ...],
    *,
    stop: Awaitable[object],
    security: RpcSecurity = _ALONE,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    grace_seconds: float = GRACE_SECONDS,
) -> None:
    """Serve RPCs on the running event loop until `stop` is done, then drain.

    `interceptors` stand inside the one that answers errors.

    Raises `ValueError` for an address that is open to the network without TLS, `RuntimeError` when it cannot be bound.
    """
    check_listen_address(address, security.tls)
    _prepare_socket(address)
    known: list[grpc.aio.ServerInterceptor] = []
    if security.callers is not None and _is_secured(address, security):
        known.append(AsyncCallerInterceptor(security.callers))
    server = grpc.aio.server(interceptors=[*known, AsyncErrorInterceptor(), *interceptors], options=_options(address))
    register(server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_reflection(server, _names(service_names))
    _bind(server, address, security)
    probed = None
    if security.health is not None:
        probed = grpc.aio.server(options=_HEALTH_OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(checks, probed)
        probed.add_insecure_port(security.health)
    await server.start()
    for name in ("", *service_names):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    if probed is not None:
        await probed.start()
    _log_serving(address, security)
    await stop
    await checks.enter_graceful_shutdown()
    if not address.startswith("unix:"):
        await asyncio.sleep(_NOTICE_SECONDS)
    await server.stop(grace_seconds)
    if probed is not None:
        await probed.stop(None)
    log.info("stopped")
