"""The commands that run one service alone."""

import os
from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import Database, DataDir, Domain, Http, Limit, LogLevel, NoAuth, Region, Token, read_limits
from services.runtime.addresses import socket_address
from services.runtime.lifeline import follow_parent
from services.runtime.logs import configure_logs
from services.runtime.tls import CertificateFiles
from services.runtime.traces import exporting_traces

Listen = Annotated[
    str | None,
    typer.Option(
        "--listen",
        envvar="ORRERY_LISTEN",
        help="unix:PATH, or HOST:PORT, on loopback only without TLS. By default a socket in the data directory.",
    ),
]


def _quiet_grpc() -> None:
    """Keep gRPC from writing a line for every connection that fails, which whoever can connect could bring about."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def gateway(
    store: Annotated[str, typer.Option(envvar="ORRERY_STORE", help="Address of the store.")],
    embedder: Annotated[str, typer.Option(envvar="ORRERY_EMBEDDER", help="Address of the embedder.")],
    http: Http = "127.0.0.1:8181",
    database: Database = "default",
    domain: Domain = None,
    region: Region = "local",
    token: Token = None,
    no_auth: NoAuth = False,
    limit: Limit = None,
    store_timeout: Annotated[float, typer.Option(envvar="ORRERY_STORE_TIMEOUT", help="Seconds for one call.")] = 20.0,
    embedder_timeout: Annotated[
        float, typer.Option(envvar="ORRERY_EMBEDDER_TIMEOUT", help="Seconds for one call, retries included.")
    ] = 60.0,
    vectorize: Annotated[bool, typer.Option(envvar="ORRERY_VECTORIZE", help="Whether texts may be embedded.")] = True,
    drain: Annotated[
        float,
        typer.Option(
            envvar="ORRERY_DRAIN_SECONDS", min=0, help="Seconds to go on serving, but not as ready, when told to stop."
        ),
    ] = 0.0,
    log_level: LogLevel = "info",
) -> None:
    """Run the gateway alone: the Data API over HTTP.

    ORRERY_GATEWAY_CONFIG names a file of settings, and ORRERY_GATEWAY_<SECTION>_<NAME> sets one; ORRERY_RPC_TLS_CA,
    _CERT and _KEY, and ORRERY_HTTP_TLS_CERT and _KEY name certificates (docs/operations.md, docs/observability.md).
    """
    from services.gateway.command import Features
    from services.gateway.hosts import host_settings
    from services.gateway.limits import Limits, override
    from services.gateway.server import GatewaySettings, run
    from services.gateway.settings import load_settings

    if token is None and not no_auth:
        raise typer.BadParameter("give a token (--token or ORRERY_TOKEN), or --no-auth on loopback")
    _quiet_grpc()
    configure_logs("gateway", log_level)
    follow_parent()
    limits = override(Limits(), read_limits(limit))
    with exporting_traces("gateway", os.environ):
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
                tls=CertificateFiles.of_rpcs(os.environ),
                hosts=host_settings(domain, region),
                http_tls=CertificateFiles.of_http(os.environ),
                drain_seconds=drain,
                settings=load_settings(os.environ),
            )
        )


def store(data_dir: DataDir = Path(".orrery/store"), listen: Listen = None, log_level: LogLevel = "info") -> None:
    """Run the store alone: documents and vectors over gRPC.

    ORRERY_STORE_CONFIG names a file of settings, and ORRERY_STORE_<SECTION>_<NAME> sets one (docs/operations.md).
    """
    # Read when FAISS is imported: its threads are to sleep while they have no work, not to take the time of others.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from services.store.server import StoreSettings, run

    _quiet_grpc()
    configure_logs("store", log_level)
    follow_parent()
    with exporting_traces("store", os.environ):
        run(StoreSettings.from_environment(listen or socket_address(data_dir, "store"), data_dir, os.environ))


def embedder(data_dir: DataDir = Path(".orrery/embedder"), listen: Listen = None, log_level: LogLevel = "info") -> None:
    """Run the embedder alone: providers and credentials over gRPC.

    ORRERY_PROVIDER_<ID>_URL, ORRERY_PROVIDERS_FILE, ORRERY_ALLOW_PROVIDERS and ORRERY_ALLOW_BASE_URLS change the
    catalogue (docs/operations.md); ORRERY_MASTER_KEY is the key of the stored credentials
    (Base64 of 32 bytes), otherwise made at the first start and kept in the data directory; ORRERY_CREDENTIALS_DIR
    is a directory of more credentials, as Kubernetes mounts Secrets.
    """
    from services.embedder.server import EmbedderSettings, run

    _quiet_grpc()
    configure_logs("embedder", log_level)
    follow_parent()
    with exporting_traces("embedder", os.environ):
        run(EmbedderSettings.from_environment(listen or socket_address(data_dir, "embedder"), data_dir, os.environ))
