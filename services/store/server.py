"""The store as a process: its settings and its RPC server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from orrery.store.v1 import operations_pb2, operations_pb2_grpc, store_pb2, store_pb2_grpc

from services.runtime.admission import Admission, Lane
from services.runtime.errors import DataApiError
from services.runtime.rpc import ErrorInterceptor
from services.runtime.servers import RpcSecurity, serve_threaded
from services.store.engine import Engine
from services.store.operations import OperationsServicer
from services.store.requests import RequestLimits
from services.store.service import StoreServicer
from services.store.settings import AdmissionSettings, Settings, load_settings

SERVICE_NAME = store_pb2.DESCRIPTOR.services_by_name["StoreService"].full_name
OPERATIONS_NAME = operations_pb2.DESCRIPTOR.services_by_name["OperationsService"].full_name
#: What is answered without reading documents; it has threads of its own, and few are enough.
_SMALL = frozenset(("GetCollection", "ListCollections", "ListKeyspaces", "GetCollectionStatistics", "InspectDatabase"))
_READS = frozenset(("FindDocuments", "FindDocumentsTogether", "CountDocuments"))
_SMALL_THREADS = 4
#: Streams of documents at a time.
_STREAMS = 8


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How a store runs.

    `listen` is `unix:PATH` or HOST:PORT, on loopback only without TLS (`security`); everything it keeps is below
    `data_dir`.
    """

    listen: str
    data_dir: Path
    settings: Settings = field(default_factory=Settings)
    security: RpcSecurity = field(default_factory=RpcSecurity)

    @classmethod
    def from_environment(cls, listen: str, data_dir: Path, environment: Mapping[str, str]) -> "StoreSettings":
        """Return the settings that variables give. Raises `ConfigurationError` for what is not valid."""
        return cls(listen, data_dir, load_settings(environment), RpcSecurity.from_environment(environment))


def run(settings: StoreSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `DirectoryInUseError`, `FormatError`, or `ValueError` for an address open to the network.
    """
    engine = Engine(settings.data_dir, settings.settings)
    bounds = [admission(settings.settings.admission), ErrorInterceptor(), RequestLimits(settings.settings.requests)]

    def register(server: grpc.Server) -> None:
        store_pb2_grpc.add_StoreServiceServicer_to_server(StoreServicer(engine), server)
        operations_pb2_grpc.add_OperationsServiceServicer_to_server(OperationsServicer(engine), server)

    serve_threaded(
        settings.listen,
        register,
        (SERVICE_NAME, OPERATIONS_NAME),
        interceptors=bounds,
        security=settings.security,
        on_stop=engine.close,
    )


def admission(settings: AdmissionSettings) -> Admission:
    """Return who may run when: reads and writes have half of the threads and of the places to wait each."""
    running, waiting = max(1, settings.running // 2), settings.waiting // 2
    reads, writes = Lane("reads", running, waiting), Lane("writes", running, waiting)
    small = Lane("small", _SMALL_THREADS, settings.waiting)
    # Whoever reads a stream slowly keeps its thread.
    streams = Lane("streams", _STREAMS, 0)
    lanes = {}
    for method in store_pb2.DESCRIPTOR.services_by_name["StoreService"].methods:
        lane = small if method.name in _SMALL else reads if method.name in _READS else writes
        if method.server_streaming:
            lane = streams
        lanes[f"/{SERVICE_NAME}/{method.name}"] = lane
    return Admission(lanes, _too_many)


def _too_many(lane: Lane) -> DataApiError:
    return DataApiError(
        "UNAVAILABLE_DATABASE",
        problem=f"it has {lane.most} {lane.name} under way or waiting, as many as it takes on",
        advice=f"Nothing was changed; send the request again in about {lane.retry_seconds:.1f} seconds.",
    )
