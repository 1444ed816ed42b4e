"""A collector of traces for tests: a real gRPC server that takes spans by OTLP and keeps them."""

import threading
import time
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it came, with the service it is of."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    failed: bool
    attributes: dict[str, Any]
    links: list[str] = field(default_factory=list)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """The server, on a free port of loopback; `endpoint` is what `OTEL_EXPORTER_OTLP_ENDPOINT` takes."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.raw: list[str] = []
        self._arrived = threading.Condition()
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the contract's name
        with self._arrived:
            for resource in request.resource_spans:
                service = _attributes(resource.resource.attributes)["service.name"]
                for scope in resource.scope_spans:
                    self.spans += [_received(service, span) for span in scope.spans]
            self.raw.append(str(request))
            self._arrived.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace(
        self, trace: str, enough: Callable[[list[ReceivedSpan]], bool], seconds: float = 20
    ) -> list[ReceivedSpan]:
        """Return the spans of a trace once there are enough of them."""
        until = time.monotonic() + seconds
        with self._arrived:
            while True:
                found = [span for span in self.spans if span.trace == trace]
                if enough(found):
                    return found
                assert self._arrived.wait(until - time.monotonic()), f"only these came: {found}"

    def __enter__(self) -> "Collector":
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(0).wait()


def _received(service: str, span: Any) -> ReceivedSpan:
    return ReceivedSpan(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.status.code == 2,
        _attributes(span.attributes),
        [link.span_id.hex() for link in span.links],
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
