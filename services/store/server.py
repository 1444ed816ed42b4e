"""The store as a process: its settings and its RPC server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from orrery.store.v1 import (
    access_pb2,
    access_pb2_grpc,
    operations_pb2,
    operations_pb2_grpc,
    store_pb2,
    store_pb2_grpc,
)

from services.runtime.admission import Admission, Lane
from services.runtime.errors import DataApiError
from services.runtime.line_rate import LineRate
from services.runtime.memory import keep_little_free_memory
from services.runtime.metrics import serve_metrics
from services.runtime.rpc import ErrorInterceptor
from services.runtime.rpc_observation import CallObserver, ObservingInterceptor
from services.runtime.servers import RpcSecurity, serve_threaded
from services.runtime.traces import Attribute
from services.store.access import Access
from services.store.access_service import AccessServicer
from services.store.engine import Engine
from services.store.find_sessions import FindSessions
from services.store.metrics import LaneMetrics
from services.store.operations import OperationsServicer
from services.store.requests import RequestLimits
from services.store.service import StoreServicer
from services.store.settings import AdmissionSettings, Settings, load_settings

SERVICE_NAME = store_pb2.DESCRIPTOR.services_by_name["StoreService"].full_name
OPERATIONS_NAME = operations_pb2.DESCRIPTOR.services_by_name["OperationsService"].full_name
ACCESS_NAME = access_pb2.DESCRIPTOR.services_by_name["AccessService"].full_name
#: What is answered without reading documents; it has threads of its own, and few are enough.
_SMALL = frozenset(("GetCollection", "ListCollections", "ListKeyspaces", "GetCollectionStatistics", "InspectDatabase"))
_READS = frozenset(("FindDocuments", "FindDocumentsTogether", "CountDocuments"))
_SMALL_THREADS = 4
METRICS_VARIABLE = "ORRERY_STORE_METRICS"
#: Streams of documents at a time.
_STREAMS = 8
#: Streams of finds at a time: a gateway has two, which mostly wait.
_SESSIONS = 64


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How a store runs.

    `listen` is `unix:PATH` or HOST:PORT, on loopback only without TLS (`security`); everything it keeps is below
    `data_dir`. `metrics` is HOST:PORT where Prometheus may ask over HTTP.
    """

    listen: str
    data_dir: Path
    settings: Settings = field(default_factory=Settings)
    security: RpcSecurity = field(default_factory=RpcSecurity)
    metrics: str | None = None

    @classmethod
    def from_environment(cls, listen: str, data_dir: Path, environment: Mapping[str, str]) -> "StoreSettings":
        """Return the settings that variables give. Raises `ConfigurationError` for what is not valid."""
        return cls(
            listen,
            data_dir,
            load_settings(environment),
            RpcSecurity.from_environment(environment),
            environment.get(METRICS_VARIABLE) or None,
        )


def run(settings: StoreSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `DirectoryInUseError`, `FormatError`, or `ValueError` for an address open to the network.
    """
    keep_little_free_memory()
    engine = Engine(settings.data_dir, settings.settings)
    lanes = admission_lanes(settings.settings.admission)
    engine.metrics.registry.register(LaneMetrics(lanes))
    logged = settings.settings.log
    observer = CallObserver(
        engine.metrics.calls, logged.slow_milliseconds / 1000, describe, LineRate(logged.slow_lines_per_second)
    )
    interceptors = [
        Admission(lanes, _too_many),
        ErrorInterceptor(),
        ObservingInterceptor(observer),
        RequestLimits(settings.settings.requests),
    ]
    sessions = FindSessions(engine, observer)
    serve_metrics(settings.metrics, METRICS_VARIABLE, engine.metrics.registry)

    def register(server: grpc.Server) -> None:
        store_pb2_grpc.add_StoreServiceServicer_to_server(StoreServicer(engine, sessions), server)
        operations_pb2_grpc.add_OperationsServiceServicer_to_server(OperationsServicer(engine), server)
        access_pb2_grpc.add_AccessServiceServicer_to_server(AccessServicer(Access(engine)), server)

    serve_threaded(
        settings.listen,
        register,
        (SERVICE_NAME, OPERATIONS_NAME, ACCESS_NAME),
        interceptors=interceptors,
        security=settings.security,
        on_serving=engine.warm,
        on_stopping=sessions.end,
        on_stop=engine.close,
    )


def admission_lanes(settings: AdmissionSettings) -> Mapping[str, Lane]:
    """Return where each method runs: reads and writes have half of the threads and of the places to wait each."""
    running, waiting = max(1, settings.running // 2), settings.waiting // 2
    reads, writes = Lane("reads", running, waiting), Lane("writes", running, waiting)
    small = Lane("small", _SMALL_THREADS, settings.waiting)
    # Whoever reads a stream slowly keeps its thread.
    streams, sessions = Lane("streams", _STREAMS, 0), Lane("sessions", _SESSIONS, 0)
    lanes = {}
    for method in store_pb2.DESCRIPTOR.services_by_name["StoreService"].methods:
        lane = small if method.name in _SMALL else reads if method.name in _READS else writes
        if method.server_streaming:
            lane = sessions if method.client_streaming else streams
        lanes[f"/{SERVICE_NAME}/{method.name}"] = lane
    return lanes


def describe(request: Any) -> dict[str, Attribute | None]:
    """Return what a log line may say of a request: whose it is and how much it brings or asks for."""
    said: dict[str, Attribute | None] = {"bytes": request.ByteSize()}
    fields = request.DESCRIPTOR.fields_by_name
    for name in ("database", "keyspace", "limit"):
        if name in fields:
            said[name] = getattr(request, name)
    for name in ("documents", "finds", "operations"):
        if name in fields:
            said[name] = len(getattr(request, name))
    collection = getattr(request, "collection", None)
    if collection is not None:
        said |= {"database": collection.database, "keyspace": collection.keyspace, "collection": collection.name}
    if "filter" in fields:
        said["filtered"] = request.filter.WhichOneof("node") is not None
    if "sort" in fields:
        said["sort"] = request.sort.WhichOneof("kind")
    return said


def _too_many(lane: Lane) -> DataApiError:
    return DataApiError(
        "UNAVAILABLE_DATABASE",
        problem=f"it has {lane.most} {lane.name} under way or waiting, as many as it takes on",
        advice=f"Nothing was changed; send the request again in about {lane.retry_seconds:.1f} seconds.",
    )
