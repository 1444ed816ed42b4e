"""`orrery up`: gateway, embedder and store, each as a process."""

import asyncio
import os
import secrets
import signal
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import typer

from services.cli.options import Database, DataDir, Domain, Http, Limit, LogLevel, NoAuth, Region, Token, read_limits
from services.runtime.addresses import check_free, socket_address, split_host_port
from services.runtime.lifeline import follow_parent
from services.runtime.logs import configure_logs
from services.runtime.supervisor import Child, Supervisor, SupervisorSettings

_HEALTH_SECONDS = 2.0
_AUDIT_FILE = "ORRERY_GATEWAY_AUDIT_FILE"
#: One address, which two services cannot share; they are probed at their sockets.
_HEALTH = "ORRERY_HEALTH"


def up(
    data_dir: DataDir = Path(".orrery"),
    http: Http = "127.0.0.1:8181",
    database: Database = "default",
    domain: Domain = None,
    region: Region = "local",
    token: Token = None,
    no_auth: NoAuth = False,
    limit: Limit = None,
    log_level: LogLevel = "warning",
) -> None:
    """Run gateway, embedder and store, each as a process, and restart one that dies. Ctrl-C stops them."""
    read_limits(limit)
    configure_logs("up", log_level)
    follow_parent()
    # Here as well as in the gateway: whoever listens there already would answer the gateway's health check.
    check_free(http)
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not no_auth and token is None:
        token = _kept_token(data_dir)
    hosts = ["--database", database, "--region", region, *(["--domain", domain] if domain else [])]
    children = _children(data_dir, http, hosts, None if no_auth else token, limit or [], log_level)
    asyncio.run(_supervise(children, f"orrery: ready {'https' if _serves_https() else 'http'}://{http}"))


def _children(
    data_dir: Path, http: str, hosts: list[str], token: str | None, limits: list[str], log_level: str
) -> list[Child]:
    store_address = socket_address(data_dir, "store")
    embedder_address = socket_address(data_dir, "embedder")
    common = ["--log-level", log_level]
    keeper = ["-m", "services.cli"]
    gateway_arguments = ["gateway", "--http", http, *hosts]
    gateway_arguments += ["--store", store_address, "--embedder", embedder_address]
    gateway_arguments += [part for item in limits for part in ("--limit", item)]
    return [
        Child(
            "store",
            [*keeper, "store", "--data-dir", str(data_dir / "store"), "--listen", store_address, *common],
            _rpc_health(store_address),
            without=("ORRERY_TOKEN", "ORRERY_MASTER_KEY", _HEALTH),
        ),
        Child(
            "embedder",
            [*keeper, "embedder", "--data-dir", str(data_dir / "embedder"), "--listen", embedder_address, *common],
            _rpc_health(embedder_address),
            without=("ORRERY_TOKEN", _HEALTH),
        ),
        Child(
            "gateway",
            [*keeper, *gateway_arguments, *common],
            _http_health(http),
            environment={
                _AUDIT_FILE: os.environ.get(_AUDIT_FILE) or str(data_dir.resolve() / "audit.log"),
                **({"ORRERY_NO_AUTH": "true"} if token is None else {"ORRERY_TOKEN": token}),
            },
            without=("ORRERY_MASTER_KEY", "ORRERY_TOKEN", "ORRERY_NO_AUTH"),
        ),
    ]


async def _supervise(children: list[Child], ready: str) -> None:
    supervisor = Supervisor(children, SupervisorSettings())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    await supervisor.run(lambda: typer.echo(ready))


def _rpc_health(address: str) -> Callable[[], Awaitable[bool]]:
    async def healthy() -> bool:
        # Imported here: by the first check the services have been started, and do not wait for it.
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        async with grpc.aio.insecure_channel(address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            try:
                response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_SECONDS)
            except grpc.aio.AioRpcError:
                return False
            return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    return healthy


def _http_health(http: str) -> Callable[[], Awaitable[bool]]:
    host, port = split_host_port(http)
    tls = None
    if _serves_https():
        # It asks the process that it has started, at this machine's own address; the name is for others.
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    # Written out, because importing an HTTP client would take longer than the rest of this command.
    request = f"GET /health/ready HTTP/1.1\r\nhost: {http}\r\nconnection: close\r\n\r\n".encode()

    async def healthy() -> bool:
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                reader, writer = await asyncio.open_connection(host, port, ssl=tls)
                try:
                    writer.write(request)
                    return (await reader.readline()).split()[1:2] == [b"200"]
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError):
            return False

    return healthy


def _serves_https() -> bool:
    return bool(os.environ.get("ORRERY_HTTP_TLS_CERT"))


def _kept_token(data_dir: Path) -> str:
    """Return the token kept in the data directory; made, kept and printed at the first start."""
    path = data_dir / "token"
    if path.exists():
        typer.echo(f"orrery: the token is in {path}")
        return path.read_text().strip()
    token = f"orrery-{secrets.token_urlsafe(32)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    typer.echo(f"orrery: token {token} (kept in {path})")
    return token
