"""Traces by OpenTelemetry, exported by OTLP. Off, and nothing of OpenTelemetry imported, unless configured.

A span tells names, kinds, counts and codes; never a value of a document, a text, a message of an error or a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from services.runtime.request_context import HEADER, REQUEST_ID

if TYPE_CHECKING:
    from services.runtime.otlp import Exporting

#: The standard variables that switch traces on.
VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
#: The header of HTTP requests, and key in the metadata of RPCs, that carries a trace (W3C Trace Context).
TRACE_HEADER = "traceparent"

#: Requests that a task is said to work for, at most.
_MOST_ORIGINS = 32

Kind = Literal["server", "client", "internal"]
Attribute = str | int | float | bool | Sequence[str]


class Span(Protocol):
    """Something that takes time, in a trace. `wanted` tells whether anybody will see its attributes."""

    wanted: bool

    def set(self, **attributes: Attribute | None) -> None:
        """Add attributes, the names' double underscores standing for dots; None is left out."""

    def name(self, name: str) -> None:
        """Give it another name."""

    def failed(self, code: str) -> None:
        """Say that it failed, with an error's code."""


class _NoSpan:
    wanted = False

    def set(self, **attributes: Attribute | None) -> None:
        return

    def name(self, name: str) -> None:
        return

    def failed(self, code: str) -> None:
        return


class Origin(NamedTuple):
    """For whom something is done: the id of a request, and its place in a trace."""

    request_id: str
    trace: object | None


_exporting: Exporting | None = None
NO_SPAN: Span = _NoSpan()
_nothing = nullcontext(NO_SPAN)


@contextmanager
def exporting_traces(service: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Have this process export its spans while the context lasts, if a variable of `VARIABLES` says where to."""
    global _exporting
    if not any(environment.get(name) for name in VARIABLES):
        yield
        return
    from services.runtime.otlp import Exporting

    exporting = _exporting = Exporting(service)
    try:
        yield
    finally:
        _exporting = None
        exporting.close()


def span(
    name: str, kind: Kind = "internal", parent: str | None = None, **attributes: Attribute | None
) -> AbstractContextManager[Span]:
    """Return a span of what the running task or thread does, below the one under way or below `parent`.

    `parent` is what came in `TRACE_HEADER`. Attributes are as `Span.set` takes them.
    """
    return _nothing if _exporting is None else _exporting.span(name, kind, parent, attributes)


def trace_ids() -> Mapping[str, str]:
    """Return `trace_id` and `span_id` of the span under way; nothing for none."""
    return {} if _exporting is None else _exporting.ids()


def outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """Return what RPCs that the running task makes carry along: the request's id, and its trace."""
    given = REQUEST_ID.get()
    metadata = ((HEADER, given),) if given else ()
    if _exporting is not None:
        return (*metadata, *_exporting.outgoing())
    return metadata


def received_trace(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """Return the trace that an RPC came with."""
    if _exporting is None:
        return None
    return next((value for key, value in metadata if key == TRACE_HEADER and isinstance(value, str)), None)


def origin() -> Origin:
    """Return for whom the running task works."""
    return Origin(REQUEST_ID.get(), None if _exporting is None else _exporting.here())


def shared_context(origins: Sequence[Origin]) -> Context:
    """Return the context of a task that works for several requests at once.

    Its log lines and RPCs have the ids of all; its first span is below the first request's and linked to the others'.
    """
    context = Context()
    several = list(dict.fromkeys(origins))[:_MOST_ORIGINS]
    context.run(REQUEST_ID.set, ",".join(each.request_id for each in several if each.request_id))
    if _exporting is not None:
        context.run(_exporting.work_for, [each.trace for each in several if each.trace is not None])
    return context
