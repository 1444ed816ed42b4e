"""The store as a process: its settings and its RPC server."""

from dataclasses import dataclass
from pathlib import Path

import grpc
from orrery.store.v1 import store_pb2, store_pb2_grpc

from services.runtime.rpc import serve_threaded
from services.store.engine import Engine
from services.store.service import StoreServicer

SERVICE_NAME = store_pb2.DESCRIPTOR.services_by_name["StoreService"].full_name


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How a store runs.

    `listen` is `unix:PATH` or HOST:PORT on loopback; everything it keeps is below `data_dir`. `workers` calls are
    answered at a time.
    """

    listen: str
    data_dir: Path
    workers: int = 32


def run(settings: StoreSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `DirectoryInUseError`, `FormatError`, or `ValueError` for an address open to the network.
    """
    engine = Engine(settings.data_dir)

    def register(server: grpc.Server) -> None:
        store_pb2_grpc.add_StoreServiceServicer_to_server(StoreServicer(engine), server)

    serve_threaded(settings.listen, register, (SERVICE_NAME,), workers=settings.workers, on_stop=engine.close)
