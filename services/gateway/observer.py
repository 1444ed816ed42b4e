"""What becomes of observations: log lines and metrics.

A log line holds names, kinds, counts and codes: never a value of a document, a text, a message of an error (which
may quote one) or a secret.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from services.gateway.envelope import Answer
from services.gateway.exchange import Request, Response
from services.gateway.metrics import GatewayMetrics
from services.gateway.observation import Observation, observe
from services.gateway.settings import LogSettings
from services.gateway.traits import shape
from services.runtime.line_rate import LineRate
from services.runtime.request_context import HEADER, REQUEST_ID, request_id
from services.runtime.traces import NO_SPAN, Span

_NOT_APPLICABLE = "NA"
_REQUEST_ID = HEADER.encode()
#: Options whose values are no content.
_SHOWN_OPTIONS = ("limit", "skip", "ordered", "upsert", "returnDocument", "includeSimilarity", "includeSortVector")
#: By the number of names in the path; anything else is a path that is not there.
_TEMPLATES = ("/v1", "/v1/{keyspace}", "/v1/{keyspace}/{collection}")
_OTHER_METHOD = "OTHER"
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Observer:
    """Notes what requests do."""

    metrics: GatewayMetrics = field(default_factory=GatewayMetrics)
    settings: LogSettings = LogSettings()  # noqa: RUF009 - it is frozen
    slow_lines: LineRate = field(default_factory=LineRate)

    def began(self, database: str, headers: Mapping[bytes, bytes], span: Span = NO_SPAN) -> Observation:
        """Return the observation of a request whose answering the running task begins."""
        REQUEST_ID.set(request_id(headers.get(_REQUEST_ID, b"").decode("latin-1")))
        observed = Observation(database, span)
        observe(observed)
        return observed

    def answered(self, observed: Observation, request: Request, response: Response) -> None:
        """Note what a request is answered with."""
        status = response.status
        seconds = time.perf_counter() - observed.started
        names = observed.path_names
        uri = _TEMPLATES[names] if names is not None else "NOT_FOUND"
        method = request.method if request.method in _METHODS else _OTHER_METHOD
        self.metrics.request(observed, method, uri, status, seconds)
        if observed.span.wanted:
            observed.span.name(f"{method} {uri}")
            observed.span.set(
                http__request__method=method,
                http__route=uri,
                http__response__status_code=status,
                orrery__request_id=REQUEST_ID.get(),
            )
            if status >= 500:
                observed.span.failed(str(status))
        if self.settings.access:
            log.info(
                "access",
                client=request.address or None,
                method=method,
                path=request.path,
                status=status,
                bytes=len(response.body),
                milliseconds=_milliseconds(seconds),
            )

    def finished(self, observed: Observation, answer: Answer) -> None:
        """Note a command and its answer."""
        seconds = time.perf_counter() - observed.started
        if observed.command is not None:
            self.metrics.command(observed, answer, seconds)
        if observed.span.wanted:
            self._trace(observed, answer)
        wanted = self.settings.commands
        if wanted == "all" or (wanted == "errors" and answer.errors):
            log.info("command", **self._command(observed, answer, seconds))
        if 0 < self.settings.slow_milliseconds <= seconds * 1000:
            if observed.command is not None:
                self.metrics.slow(observed)
            more = self.slow_lines.take()
            if more is not None:
                log.warning("slow command", **self._command(observed, answer, seconds), **_asked(observed), **more)

    def _trace(self, observed: Observation, answer: Answer) -> None:
        observed.span.set(
            orrery__command=observed.command,
            orrery__database=observed.database or None,
            orrery__keyspace=observed.keyspace or None,
            orrery__collection=observed.name or None,
            orrery__documents_received=observed.traits.documents,
            orrery__documents_returned=answer.documents()[0],
            orrery__sort_type=observed.traits.sort_type,
        )
        if answer.errors:
            observed.span.failed(answer.errors[0].code)

    def _command(self, observed: Observation, answer: Answer, seconds: float) -> dict[str, object]:
        """Return the members of a command's line: the reference's, and durations."""
        received, (returned, _) = observed.traits.documents, answer.documents()
        schema = "collection" if observed.name else "keyspace" if observed.keyspace else "database"
        return {
            "commandName": observed.command or _NOT_APPLICABLE,
            "tenant": self.metrics.tenant(observed.database),
            "database": observed.database,
            "namespaceName": observed.keyspace or _NOT_APPLICABLE,
            "collectionName": observed.name or _NOT_APPLICABLE,
            "schemaType": schema,
            "documentsReceived": _NOT_APPLICABLE if received is None else str(received),
            "documentsReturned": _NOT_APPLICABLE if returned is None else str(returned),
            "errorList": [
                {name: error[name] for name in ("id", "family", "scope", "errorCode")}
                for error in answer.error_objects()
            ],
            "milliseconds": _milliseconds(seconds),
            "storeMilliseconds": _milliseconds(observed.spent("store")),
            "embedderMilliseconds": _milliseconds(observed.spent("embedder")),
        }


def _asked(observed: Observation) -> dict[str, object]:
    """Return what a slow command asked for, without values, and what is known of the collection."""
    members = {} if observed.fields is None else observed.fields.members
    options = members.get("options")
    told: dict[str, object] = {
        "bodyBytes": observed.body_bytes,
        "sortType": observed.traits.sort_type,
        "conditions": sorted(observed.traits.indexes),
        "rpcs": [f"{call.service}.{call.method}: {_milliseconds(call.seconds)}" for call in observed.calls[:20]],
    }
    for name in ("filter", "sort"):
        if members.get(name):
            told[name] = shape(members[name])
    if isinstance(options, dict):
        shown = {name: options[name] for name in _SHOWN_OPTIONS if isinstance(options.get(name), bool | int)}
        if shown:
            told["options"] = shown
    return told


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
