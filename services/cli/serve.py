"""`orrery up`, and the commands that run one service alone."""

import asyncio
import os
import secrets
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import grpc
import httpx
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.runtime.addresses import check_free, socket_address
from services.runtime.lifeline import follow_parent
from services.runtime.logs import configure_logs
from services.runtime.supervisor import Child, Supervisor, SupervisorSettings

_HEALTH_SECONDS = 2.0

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="ORRERY_DATA_DIR", help="Folder that holds everything that is kept.")
]
Http = Annotated[str, typer.Option("--http", envvar="ORRERY_HTTP", help="HOST:PORT of the Data API.")]
Database = Annotated[str, typer.Option("--database", envvar="ORRERY_DATABASE", help="Name of the database.")]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="ORRERY_TOKEN",
        help="Token that callers send in the header Token. The variable keeps it out of the process list.",
    ),
]
NoAuth = Annotated[bool, typer.Option("--no-auth", envvar="ORRERY_NO_AUTH", help="Ask for no token; on loopback only.")]
LogLevel = Annotated[str, typer.Option("--log-level", envvar="ORRERY_LOG_LEVEL", help="debug, info, warning or error.")]
Limit = Annotated[
    list[str] | None,
    typer.Option("--limit", help="NAME=VALUE of a Data API limit; docs/limits.md lists them. May be repeated."),
]
Listen = Annotated[
    str | None,
    typer.Option(
        "--listen",
        envvar="ORRERY_LISTEN",
        help="unix:PATH, or HOST:PORT on loopback. By default a socket in the data directory.",
    ),
]


def up(
    data_dir: DataDir = Path(".orrery"),
    http: Http = "127.0.0.1:8181",
    database: Database = "default",
    token: Token = None,
    no_auth: NoAuth = False,
    limit: Limit = None,
    log_level: LogLevel = "warning",
) -> None:
    """Run gateway, embedder and store, each as a process, and restart one that dies. Ctrl-C stops them."""
    _read_limits(limit)
    configure_logs("up", log_level)
    # Here as well as in the gateway: whoever listens there already would answer the gateway's health check.
    check_free(http)
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not no_auth and token is None:
        token = _kept_token(data_dir)
    children = _children(data_dir, http, database, None if no_auth else token, limit or [], log_level)
    asyncio.run(_supervise(children, f"orrery: ready http://{http}"))


def _children(
    data_dir: Path, http: str, database: str, token: str | None, limits: list[str], log_level: str
) -> list[Child]:
    store_address = socket_address(data_dir, "store")
    embedder_address = socket_address(data_dir, "embedder")
    common = ["--log-level", log_level]
    keeper = ["-m", "services.cli"]
    gateway_arguments = ["gateway", "--http", http, "--database", database]
    gateway_arguments += ["--store", store_address, "--embedder", embedder_address]
    gateway_arguments += [part for item in limits for part in ("--limit", item)]
    return [
        Child(
            "store",
            [*keeper, "store", "--data-dir", str(data_dir / "store"), "--listen", store_address, *common],
            _rpc_health(store_address),
            without=("ORRERY_TOKEN", "ORRERY_MASTER_KEY"),
        ),
        Child(
            "embedder",
            [*keeper, "embedder", "--data-dir", str(data_dir / "embedder"), "--listen", embedder_address, *common],
            _rpc_health(embedder_address),
            without=("ORRERY_TOKEN",),
        ),
        Child(
            "gateway",
            [*keeper, *gateway_arguments, *common],
            _http_health(f"http://{http}/health/ready"),
            environment={"ORRERY_NO_AUTH": "true"} if token is None else {"ORRERY_TOKEN": token},
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
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            try:
                response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_SECONDS)
            except grpc.aio.AioRpcError:
                return False
            return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    return healthy


def _http_health(url: str) -> Callable[[], Awaitable[bool]]:
    async def healthy() -> bool:
        async with httpx.AsyncClient(timeout=_HEALTH_SECONDS, trust_env=False) as client:
            try:
                return (await client.get(url)).status_code == 200
            except httpx.TransportError:
                return False

    return healthy


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


def _read_limits(items: list[str] | None) -> dict[str, str]:
    """Return the limits of `ORRERY_LIMIT_<NAME>` and `--limit NAME=VALUE`, the latter winning."""
    prefix = "ORRERY_LIMIT_"
    values = {name.removeprefix(prefix).lower(): value for name, value in os.environ.items() if name.startswith(prefix)}
    for item in items or []:
        name, separator, value = item.partition("=")
        if not separator:
            raise typer.BadParameter(f"{item!r}: write NAME=VALUE", param_hint="--limit")
        values[name] = value
    return values


def gateway(
    store: Annotated[str, typer.Option(envvar="ORRERY_STORE", help="Address of the store.")],
    embedder: Annotated[str, typer.Option(envvar="ORRERY_EMBEDDER", help="Address of the embedder.")],
    http: Http = "127.0.0.1:8181",
    database: Database = "default",
    token: Token = None,
    no_auth: NoAuth = False,
    limit: Limit = None,
    store_timeout: Annotated[float, typer.Option(envvar="ORRERY_STORE_TIMEOUT", help="Seconds for one call.")] = 20.0,
    embedder_timeout: Annotated[
        float, typer.Option(envvar="ORRERY_EMBEDDER_TIMEOUT", help="Seconds for one call, retries included.")
    ] = 60.0,
    vectorize: Annotated[bool, typer.Option(envvar="ORRERY_VECTORIZE", help="Whether texts may be embedded.")] = True,
    log_level: LogLevel = "info",
) -> None:
    """Run the gateway alone: the Data API over HTTP."""
    from services.gateway.command import Features
    from services.gateway.limits import Limits, override
    from services.gateway.server import GatewaySettings, run

    if token is None and not no_auth:
        raise typer.BadParameter("give a token (--token or ORRERY_TOKEN), or --no-auth on loopback")
    configure_logs("gateway", log_level)
    follow_parent()
    limits = override(Limits(), _read_limits(limit))
    run(
        GatewaySettings(
            store,
            embedder,
            None if no_auth else token,
            http,
            database,
            limits,
            Features(vectorize=vectorize),
            store_timeout,
            embedder_timeout,
        )
    )


def store(data_dir: DataDir = Path(".orrery/store"), listen: Listen = None, log_level: LogLevel = "info") -> None:
    """Run the store alone: documents and vectors over gRPC.

    ORRERY_STORE_CONFIG names a file of settings, and ORRERY_STORE_<SECTION>_<NAME> sets one (docs/operations.md).
    """
    # Read when FAISS is imported: its threads are to sleep while they have no work, not to take the time of others.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from services.store.server import StoreSettings, run

    configure_logs("store", log_level)
    follow_parent()
    run(StoreSettings.from_environment(listen or socket_address(data_dir, "store"), data_dir, os.environ))


def embedder(data_dir: DataDir = Path(".orrery/embedder"), listen: Listen = None, log_level: LogLevel = "info") -> None:
    """Run the embedder alone: providers and credentials over gRPC.

    ORRERY_PROVIDER_<ID>_URL, ORRERY_PROVIDERS_FILE, ORRERY_ALLOW_PROVIDERS and ORRERY_ALLOW_BASE_URLS change the
    catalogue (docs/operations.md); ORRERY_MASTER_KEY is the key of the stored credentials
    (Base64 of 32 bytes), otherwise made at the first start and kept in the data directory; ORRERY_CREDENTIALS_DIR
    is a directory of more credentials, as Kubernetes mounts Secrets.
    """
    from services.embedder.server import EmbedderSettings, run

    configure_logs("embedder", log_level)
    follow_parent()
    run(EmbedderSettings.from_environment(listen or socket_address(data_dir, "embedder"), data_dir, os.environ))
