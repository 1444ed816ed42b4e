"""The store as a process: its settings and its RPC server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from orrery.store.v1 import operations_pb2, operations_pb2_grpc, store_pb2, store_pb2_grpc

from services.runtime.rpc import serve_threaded
from services.store.engine import Engine
from services.store.operations import OperationsServicer
from services.store.service import StoreServicer
from services.store.settings import Settings, load_settings

SERVICE_NAME = store_pb2.DESCRIPTOR.services_by_name["StoreService"].full_name
OPERATIONS_NAME = operations_pb2.DESCRIPTOR.services_by_name["OperationsService"].full_name


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How a store runs.

    `listen` is `unix:PATH` or HOST:PORT on loopback; everything it keeps is below `data_dir`.
    """

    listen: str
    data_dir: Path
    settings: Settings = field(default_factory=Settings)

    @classmethod
    def from_environment(cls, listen: str, data_dir: Path, environment: Mapping[str, str]) -> "StoreSettings":
        """Return the settings that variables give. Raises `ConfigurationError` for what is not valid."""
        return cls(listen, data_dir, load_settings(environment))


def run(settings: StoreSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `DirectoryInUseError`, `FormatError`, or `ValueError` for an address open to the network.
    """
    engine = Engine(settings.data_dir, settings.settings)

    def register(server: grpc.Server) -> None:
        store_pb2_grpc.add_StoreServiceServicer_to_server(StoreServicer(engine), server)
        operations_pb2_grpc.add_OperationsServiceServicer_to_server(OperationsServicer(engine), server)

    serve_threaded(
        settings.listen,
        register,
        (SERVICE_NAME, OPERATIONS_NAME),
        workers=settings.settings.admission.running,
        on_stop=engine.close,
    )
