"""The embedder as a process: its settings and its RPC server."""

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from orrery.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from stargate import embedding_gateway_pb2, embedding_gateway_pb2_grpc

from services.embedder.catalogue import CatalogueSettings, load_catalogue
from services.embedder.credential_directory import VARIABLE, CredentialDirectory
from services.embedder.credential_service import CredentialServicer
from services.embedder.credentials import CredentialStore
from services.embedder.engine import EmbeddingEngine
from services.embedder.sealing import load_master_key
from services.embedder.secret import Secret
from services.embedder.service import EmbedderServicer
from services.embedder.settings import Settings, load_settings
from services.embedder.stargate import StargateServicer
from services.embedder.stargate_reranking import StargateRerankingServicer
from services.embedder.upkeep import every
from services.embedder.upstream import Upstream
from services.embedder.usage import UsageBook
from services.runtime.line_rate import LineRate
from services.runtime.metrics import serve_metrics
from services.runtime.rpc_observation import AsyncObservingInterceptor, CallObserver
from services.runtime.servers import RpcSecurity, serve_async
from services.runtime.traces import Attribute

SERVICE_NAMES = tuple(
    service.full_name
    for contract in (embedder_pb2.DESCRIPTOR, embedding_gateway_pb2.DESCRIPTOR)
    for service in contract.services_by_name.values()
)

#: How often the directory of credentials is looked at, in seconds: a change is taken at the second look.
_DIRECTORY_SECONDS = 0.5
#: How often it is written when credentials were last used, in seconds.
_USES_SECONDS = 60.0
#: How often what was used is written, in seconds. A kill loses no more.
_USAGE_SECONDS = 5.0

METRICS_VARIABLE = "ORRERY_EMBEDDER_METRICS"
_URL_PREFIX, _URL_SUFFIX = "ORRERY_PROVIDER_", "_URL"


@dataclass(frozen=True, slots=True)
class EmbedderSettings:
    """How an embedder runs.

    `listen` is `unix:PATH` or HOST:PORT, on loopback only without TLS (`security`); credentials are kept in
    `data_dir`. `master_key` is Base64 of 32 bytes; None keeps one in `data_dir`. `credentials_dir` has more
    credentials, as files. `metrics` is HOST:PORT where Prometheus may ask over HTTP.
    """

    listen: str
    data_dir: Path
    catalogue: CatalogueSettings = field(default_factory=CatalogueSettings)
    master_key: Secret | None = None
    settings: Settings = field(default_factory=Settings)
    credentials_dir: Path | None = None
    metrics: str | None = None
    security: RpcSecurity = field(default_factory=RpcSecurity)

    @classmethod
    def from_environment(cls, listen: str, data_dir: Path, environment: Mapping[str, str]) -> "EmbedderSettings":
        """Return settings with what an environment says.

        Read are `ORRERY_MASTER_KEY`, `ORRERY_CREDENTIALS_DIR`, `ORRERY_PROVIDER_<ID>_URL`, `ORRERY_PROVIDERS_FILE`,
        `ORRERY_EMBEDDER_METRICS`, what `settings.load_settings` and `RpcSecurity` read, and, with commas between
        their parts, `ORRERY_ALLOW_PROVIDERS` and `ORRERY_ALLOW_BASE_URLS`.
        """
        urls = {
            name.removeprefix(_URL_PREFIX).removesuffix(_URL_SUFFIX): value
            for name, value in environment.items()
            if name.startswith(_URL_PREFIX) and name.endswith(_URL_SUFFIX)
        }
        key = environment.get("ORRERY_MASTER_KEY")
        file = environment.get("ORRERY_PROVIDERS_FILE")
        catalogue = CatalogueSettings(
            urls=urls,
            file=Path(file) if file else None,
            allowed=_parts(environment.get("ORRERY_ALLOW_PROVIDERS", "")),
            base_urls=_parts(environment.get("ORRERY_ALLOW_BASE_URLS", "")),
        )
        mounted = environment.get(VARIABLE)
        return cls(
            listen,
            data_dir,
            catalogue,
            Secret(key) if key else None,
            load_settings(environment),
            credentials_dir=Path(mounted) if mounted else None,
            metrics=environment.get(METRICS_VARIABLE) or None,
            security=RpcSecurity.from_environment(environment),
        )


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def describe(request: Any) -> dict[str, Attribute | None]:
    """Return what a log line may say of a request: whose it is, and how many texts it brings."""
    embed = request.embed if isinstance(request, embedder_pb2.EmbedStreamRequest) else request
    if not isinstance(embed, embedder_pb2.EmbedRequest):
        return {}
    service = embed.service
    return {
        "database": embed.database,
        "provider": service.provider,
        "model": service.model,
        "texts": len(embed.texts),
    }


def run(settings: EmbedderSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `ConfigurationError` for a catalogue, a master key or a directory of credentials that cannot be used, and
    `ValueError` for an address open to the network.
    """
    asyncio.run(_serve(settings))


async def _serve(settings: EmbedderSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    catalogue = load_catalogue(settings.catalogue)
    master_key = load_master_key(settings.data_dir, settings.master_key)
    directory = None if settings.credentials_dir is None else CredentialDirectory(settings.credentials_dir, catalogue)
    credentials = CredentialStore(settings.data_dir / "credentials.db", master_key, directory)
    upstream = Upstream()
    usage = UsageBook(settings.data_dir / "usage.db", settings.settings.budgets)
    engine = EmbeddingEngine(catalogue, credentials, upstream, usage, settings.settings)
    serve_metrics(settings.metrics, METRICS_VARIABLE, engine.metrics.registry)
    logged = settings.settings.log
    observer = CallObserver(
        engine.metrics.rpcs, logged.slow_milliseconds / 1000, describe, LineRate(logged.slow_lines_per_second)
    )

    def register(server: grpc.aio.Server) -> None:
        embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(
            EmbedderServicer(catalogue, credentials, engine, usage), server
        )
        embedder_pb2_grpc.add_CredentialServiceServicer_to_server(CredentialServicer(catalogue, credentials), server)
        embedding_gateway_pb2_grpc.add_EmbeddingServiceServicer_to_server(
            StargateServicer(catalogue, credentials, engine, settings.settings.requests), server
        )
        embedding_gateway_pb2_grpc.add_RerankingServiceServicer_to_server(StargateRerankingServicer(), server)

    upkeep = [
        asyncio.create_task(every(_USES_SECONDS, credentials.write_uses)),
        asyncio.create_task(every(_USAGE_SECONDS, usage.write)),
    ]
    if directory is not None:
        upkeep.append(asyncio.create_task(every(_DIRECTORY_SECONDS, credentials.reload_directory)))
    try:
        await serve_async(
            settings.listen,
            register,
            SERVICE_NAMES,
            stop=stop.wait(),
            security=settings.security,
            interceptors=[AsyncObservingInterceptor(observer)],
        )
    finally:
        for task in upkeep:
            task.cancel()
        await upstream.close()
        engine.close()
        usage.close()
        credentials.close()
