"""OpenTelemetry's SDK, set up to export spans by OTLP over gRPC; imported only where traces are switched on.

Where to, how often and how many are OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_*`, `OTEL_BSP_*`,
`OTEL_TRACES_SAMPLER`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.runtime.errors import DataApiError
from services.runtime.traces import TRACE_HEADER, Attribute, Kind

_KINDS = {"server": trace.SpanKind.SERVER, "client": trace.SpanKind.CLIENT, "internal": trace.SpanKind.INTERNAL}

_CLOSE_SECONDS = 2.0

#: What the next span is linked to: other requests that it works for.
_links: ContextVar[Sequence[trace.Link]] = ContextVar("links", default=())


class _Recorded:
    """A span, as `services.runtime.traces.Span` has it."""

    __slots__ = ("_span", "wanted")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.wanted = span.is_recording()

    def set(self, **attributes: Attribute | None) -> None:
        for name, value in _named(attributes).items():
            self._span.set_attribute(name, value)

    def name(self, name: str) -> None:
        self._span.update_name(name)

    def failed(self, code: str) -> None:
        self._span.set_attribute("error.type", code)
        self._span.set_status(trace.StatusCode.ERROR)


class Exporting:
    """The spans of one process on their way to a collector."""

    def __init__(self, service: str) -> None:
        own = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: f"orrery-{service}"}
        self._provider = provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = provider.get_tracer("orrery")
        self._propagator = TraceContextTextMapPropagator()

    def close(self) -> None:
        """Send what is left, for no longer than `_CLOSE_SECONDS`: a collector that is away must not hold up a stop."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces-close", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)

    @contextmanager
    def span(
        self, name: str, kind: Kind, parent: str | None, attributes: Mapping[str, Attribute | None]
    ) -> Iterator[_Recorded]:
        """Record a span while the context lasts; an exception ends it as failed, its message left out."""
        above: Context | None = None
        if parent is not None:
            above = self._propagator.extract({TRACE_HEADER: parent}, Context())
        links = _links.get()
        if links:
            _links.set(())
        with self._tracer.start_as_current_span(
            name,
            context=above,
            kind=_KINDS[kind],
            attributes=_named(attributes),
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as started:
            recorded = _Recorded(started)
            try:
                yield recorded
            except DataApiError as error:
                recorded.failed(error.code)
                raise
            except BaseException as problem:
                recorded.failed(type(problem).__name__)
                raise

    def ids(self) -> dict[str, str]:
        """Return the ids of the span under way, in hexadecimal; nothing for none."""
        under_way = trace.get_current_span().get_span_context()
        if not under_way.is_valid:
            return {}
        return {
            "trace_id": trace.format_trace_id(under_way.trace_id),
            "span_id": trace.format_span_id(under_way.span_id),
        }

    def outgoing(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that carries the span under way."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return tuple((name, value) for name, value in carrier.items() if name == TRACE_HEADER)

    def here(self) -> object | None:
        """Return the span under way, to work for it elsewhere; None for none."""
        under_way = trace.get_current_span()
        return under_way if under_way.get_span_context().is_valid else None

    def work_for(self, spans: Sequence[object]) -> None:
        """Have the running context work for the first of some spans, its next span linked to the others."""
        if spans:
            first, *others = cast("Sequence[trace.Span]", spans)
            otel_context.attach(trace.set_span_in_context(first, Context()))
            _links.set([trace.Link(other.get_span_context()) for other in others])


def _named(attributes: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    return {name.replace("__", "."): value for name, value in attributes.items() if value is not None}
