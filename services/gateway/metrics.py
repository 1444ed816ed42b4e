"""The gateway's metrics: the reference's names and labels where it has them, and `orrery_gateway_` ones.

For one thread: the event loop counts, and answers who asks.
"""

from __future__ import annotations

from functools import cache, lru_cache

from prometheus_client import CollectorRegistry, Counter

from services.gateway.envelope import Answer
from services.gateway.observation import Observation
from services.gateway.settings import MetricsSettings
from services.gateway.traits import FEATURES, INDEXES
from services.runtime.errors import DataApiError
from services.runtime.metrics import WithLabels, exposition, process_metrics
from services.runtime.summaries import Distribution, Summary

_MODULE = {"module": "sgv2-jsonapi"}
_QUANTILES = (0.5, 0.98, 0.99)
_ALL_QUANTILES = (0.5, 0.9, 0.95, 0.98, 0.99)
_SINGLE_TENANT = "SINGLE-TENANT"
_LABELLED = 4096
_MOST_INDEX_LABELS = 1_000
_OTHER = "OTHER"
_BOOLEANS = {False: "false", True: "true"}
_OUTCOMES = {2: "SUCCESS", 4: "CLIENT_ERROR", 5: "SERVER_ERROR"}


class GatewayMetrics:
    """Every metric of a gateway, in a registry of its own."""

    def __init__(self, settings: MetricsSettings = MetricsSettings()) -> None:  # noqa: B008 - it is frozen
        self._by_database = settings.tenants == "databases"
        own = CollectorRegistry()
        self.registry = CollectorRegistry()
        self.registry.register(WithLabels(own, _MODULE))
        process_metrics(own)
        command = ("command", "tenant")
        model = (*command, "embedding_provider", "embedding_model")

        def summary(name: str, text: str, labels: tuple[str, ...]) -> Summary:
            return Summary(name, text, labels, _QUANTILES if "tenant" in labels else _ALL_QUANTILES, registry=own)

        self._commands = summary(
            "command_processor_process_seconds",
            "Duration of commands.",
            (*command, "error", "error_code", "vector_enabled", "sort_type", *FEATURES),
        )
        self._docs_written = summary("json_docs_written", "Documents that a command wrote.", command)
        self._docs_read = summary("json_docs_read", "Documents that a command returned.", command)
        self._bytes_written = summary("json_bytes_written", "JSON of documents to be stored, in bytes.", command)
        self._bytes_read = summary("json_bytes_read", "JSON of returned documents, in bytes.", command)
        self._vectorize_seconds = summary("vectorize_call_duration_seconds", "Duration of embedding.", model)
        self._vectorize_bytes = summary("vectorize_input_bytes", "Texts of one embedding, in bytes.", model)
        self._requests = summary(
            "http_server_requests_seconds",
            "Duration of HTTP requests.",
            ("method", "outcome", "status", "uri", "tenant"),
        )
        self._rpcs = summary(
            "orrery_gateway_rpc_seconds", "Duration of calls of other services.", ("service", "method", "code")
        )
        self._indexes = Counter(
            "index_usage_count", "Commands by the kinds of their conditions.", (*command, *INDEXES), registry=own
        )
        self._slow = Counter(
            "orrery_gateway_slow_commands", "Commands that were logged as slow.", command, registry=own
        )
        self._tenants = Counter(
            "http_server_requests_counter",
            "HTTP requests by database.",
            ("tenant", "error"),
            registry=own if self._by_database else None,
        )
        self._index_labels: set[tuple[str, ...]] = set()
        # Putting labels together costs more than counting with them.
        self._command_of = lru_cache(_LABELLED)(self._labelled_command)
        self._index_of = lru_cache(_LABELLED)(self._labelled_index)

    def tenant(self, database: str) -> str:
        """Return the value of the label `tenant` for a database."""
        return database if self._by_database and database else _SINGLE_TENANT

    def command(self, observed: Observation, answer: Answer, seconds: float) -> None:
        """Count a command that was understood."""
        name, tenant, traits = command_label(observed), self.tenant(observed.database), observed.traits
        error = error_label(answer.errors[0]) if answer.errors else ""
        kind = _vector_enabled(observed), traits.sort_type, traits.features
        self._command_of(name, tenant, error, *kind).observe(seconds)
        if traits.indexes:
            self._index_of(name, tenant, traits.indexes).inc()
        read, read_bytes = answer.documents()
        if read is not None:
            self._docs_read.of(name, tenant).observe(read)
            self._bytes_read.of(name, tenant).observe(read_bytes)
        for provider, model, size, duration in observed.embeddings:
            self._vectorize_seconds.of(name, tenant, provider, model).observe(duration)
            self._vectorize_bytes.of(name, tenant, provider, model).observe(size)
        written = answer.written()
        if written is not None:
            self._docs_written.of(name, tenant).observe(written)
        if observed.written_bytes:
            self._bytes_written.of(name, tenant).observe(observed.written_bytes)

    def slow(self, observed: Observation) -> None:
        """Count a command that was logged as slow."""
        self._slow.labels(command_label(observed), self.tenant(observed.database)).inc()

    def request(self, observed: Observation, method: str, uri: str, status: int, seconds: float) -> None:
        """Count an HTTP request and the calls that it made; `uri` is the template of its path."""
        for call in observed.calls:
            self._rpcs.of(call.service, call.method, call.code).observe(call.seconds)
        outcome = _OUTCOMES.get(status // 100, "UNKNOWN")
        tenant = self.tenant(observed.database)
        self._requests.of(method, outcome, str(status), uri, tenant).observe(seconds)
        if self._by_database:
            self._tenants.labels(tenant, _BOOLEANS[status >= 500]).inc()

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics as the caller accepts them, and the content type."""
        return exposition(self.registry, accept)

    def _labelled_command(
        self, name: str, tenant: str, error: str, vector_enabled: str, sort_type: str, features: frozenset[str]
    ) -> Distribution:
        used = (_BOOLEANS[feature in features] for feature in FEATURES)
        return self._commands.of(name, tenant, _BOOLEANS[bool(error)], error or "NA", vector_enabled, sort_type, *used)

    def _labelled_index(self, name: str, tenant: str, indexes: frozenset[str]) -> Counter:
        labels = (name, tenant, *(_BOOLEANS[index in indexes] for index in INDEXES))
        # Whoever combines conditions in every way is not to fill the memory, nor Prometheus.
        if labels not in self._index_labels and len(self._index_labels) >= _MOST_INDEX_LABELS:
            labels = (_OTHER,) * len(labels)
        self._index_labels.add(labels)
        return self._indexes.labels(*labels)


def command_label(observed: Observation) -> str:
    """Return a command's name as the reference has it in labels: `FindCommand`."""
    return _command_label(observed.command or "unknown")


@cache
def _command_label(name: str) -> str:
    # Only commands that there are come here, and those are few.
    return f"{name[0].upper()}{name[1:]}Command"


def error_label(error: DataApiError) -> str:
    """Return an error's full code as the reference has it in labels: `FAMILY_SCOPE_CODE`."""
    parts = (error.definition.family, error.definition.scope, error.definition.code)
    return "_".join(part for part in parts if part)


def _vector_enabled(observed: Observation) -> str:
    return _BOOLEANS[observed.collection is not None and bool(observed.collection.options.vector)]
