"""The embedder as a process: its settings and its RPC server."""

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from orrery.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from stargate import embedding_gateway_pb2, embedding_gateway_pb2_grpc

from services.embedder.catalogue import CatalogueSettings, load_catalogue
from services.embedder.credentials import CredentialStore, load_master_key
from services.embedder.engine import EmbeddingEngine
from services.embedder.secret import Secret
from services.embedder.service import CredentialServicer, EmbedderServicer
from services.embedder.settings import Settings, load_settings
from services.embedder.stargate import StargateServicer
from services.embedder.upstream import Upstream
from services.embedder.usage import UsageBook
from services.runtime.rpc import serve_async

SERVICE_NAMES = tuple(
    service.full_name
    for contract in (embedder_pb2.DESCRIPTOR, embedding_gateway_pb2.DESCRIPTOR)
    for service in contract.services_by_name.values()
)

#: How often what was used is written.
_USAGE_SECONDS = 5.0
_URL_PREFIX, _URL_SUFFIX = "ORRERY_PROVIDER_", "_URL"


@dataclass(frozen=True, slots=True)
class EmbedderSettings:
    """How an embedder runs.

    `listen` is `unix:PATH` or HOST:PORT on loopback; credentials are kept in `data_dir`. `master_key` is Base64 of 32
    bytes; None keeps one in `data_dir`.
    """

    listen: str
    data_dir: Path
    catalogue: CatalogueSettings = field(default_factory=CatalogueSettings)
    master_key: Secret | None = None
    settings: Settings = field(default_factory=Settings)

    @classmethod
    def from_environment(cls, listen: str, data_dir: Path, environment: Mapping[str, str]) -> "EmbedderSettings":
        """Return settings with what an environment says.

        Read are `ORRERY_MASTER_KEY`, `ORRERY_PROVIDER_<ID>_URL`, `ORRERY_PROVIDERS_FILE`, and, with commas between
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
        return cls(listen, data_dir, catalogue, Secret(key) if key else None, load_settings(environment))


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def run(settings: EmbedderSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `CatalogueError`, `MasterKeyError`, or `ValueError` for an address open to the network.
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
    credentials = CredentialStore(settings.data_dir / "credentials.db", master_key)
    upstream = Upstream()
    usage = UsageBook(settings.data_dir / "usage.db", settings.settings.budgets)
    engine = EmbeddingEngine(catalogue, credentials, upstream, usage, settings.settings)
    writing = asyncio.create_task(_write_regularly(usage))

    def register(server: grpc.aio.Server) -> None:
        embedder_pb2_grpc.add_EmbedderServiceServicer_to_server(
            EmbedderServicer(catalogue, credentials, engine, usage), server
        )
        embedder_pb2_grpc.add_CredentialServiceServicer_to_server(CredentialServicer(catalogue, credentials), server)
        embedding_gateway_pb2_grpc.add_EmbeddingServiceServicer_to_server(
            StargateServicer(catalogue, credentials, engine, settings.settings.requests), server
        )

    try:
        await serve_async(settings.listen, register, SERVICE_NAMES, stop=stop.wait())
    finally:
        writing.cancel()
        await upstream.close()
        engine.close()
        usage.close()
        credentials.close()


async def _write_regularly(usage: UsageBook) -> None:
    while True:
        await asyncio.sleep(_USAGE_SECONDS)
        await asyncio.to_thread(usage.write)
