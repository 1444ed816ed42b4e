"""The embedder's metrics, for Prometheus."""

import functools

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.embedder.failures import Failure
from services.embedder.providers.wire import Answer, EmbeddingModel
from services.embedder.usage import Spender, Used
from services.runtime.metrics import CallMetrics, process_metrics

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_LABELLED = 4096
_MODEL = ("provider", "model")
_SPENDER = ("provider", "model", "database", "key")


class EmbedderMetrics:
    """Every metric, in a registry of its own. Key names are labels; keys never are."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rpcs = CallMetrics("embedder", self.registry)
        process_metrics(self.registry)
        self._calls = self._counter("calls", "Calls of Embed.", (*_SPENDER, "code"))
        self._texts = self._counter("texts", "Texts that were embedded.", _SPENDER)
        self._tokens = self._counter("tokens", "Tokens that providers counted.", _SPENDER)
        self._cost = self._counter("cost", "What those tokens cost by the catalogue's prices.", _SPENDER)
        self._cached = self._counter("cache_hits", "Texts that were answered from the cache.", _SPENDER)
        self._saved = self._counter("cache_saved_tokens", "Tokens that the cache spared.", _SPENDER)
        self._seconds = self._histogram("call_seconds", "Duration of calls of Embed.", _MODEL, _SECONDS)
        self._requests = self._counter("requests", "Requests to providers.", (*_MODEL, "outcome"))
        self._request_seconds = self._histogram("request_seconds", "Duration of requests.", _MODEL, _SECONDS)
        self._queue_seconds = self._histogram("queue_seconds", "Wait of a request's oldest text.", _MODEL, _SECONDS)
        self._batch = self._histogram("request_texts", "Texts of a request.", _MODEL, _TEXTS)
        self._retries = self._counter("retried_texts", "Texts that are sent again.", _MODEL)
        self._left_alone = self._counter("left_alone", "Times that a provider was found to be down.", ("provider",))
        self.queued_texts = Gauge(
            "orrery_embedder_queued_texts", "Texts that wait or are under way.", registry=self.registry
        )
        # Finding a metric by its labels costs more than counting with it.
        self._of_spender = functools.lru_cache(_LABELLED)(self._labelled_spender)
        self._of_code = functools.lru_cache(_LABELLED)(self._labelled_code)
        self.cache_bytes = Gauge("orrery_embedder_cache_bytes", "Memory of the cache.", registry=self.registry)

    def call(self, spender: Spender, code: str, seconds: float, used: Used) -> None:
        """Count a call of Embed; `code` is `OK` or that of its error."""
        self._of_code(spender, code).inc()
        duration, counters = self._of_spender(spender)
        duration.observe(seconds)
        for counter, amount in zip(
            counters, (used.texts, used.tokens, used.money, used.cached, used.saved), strict=True
        ):
            if amount:
                counter.inc(amount)

    def request(
        self, model: EmbeddingModel, texts: int, waited: float, seconds: float, outcome: Answer | Failure
    ) -> None:
        """Count a request to a provider; durations are in seconds."""
        labels = (model.provider.id, model.model.name)
        code = outcome.error.code if isinstance(outcome, Failure) else "OK"
        self._requests.labels(*labels, code).inc()
        self._request_seconds.labels(*labels).observe(seconds)
        self._queue_seconds.labels(*labels).observe(max(0.0, waited))
        self._batch.labels(*labels).observe(texts)

    def _labelled_spender(self, spender: Spender) -> tuple[Histogram, tuple[Counter, ...]]:
        labels = (spender.provider, spender.model, spender.database, spender.key)
        counters = (self._texts, self._tokens, self._cost, self._cached, self._saved)
        duration = self._seconds.labels(spender.provider, spender.model)
        return duration, tuple(counter.labels(*labels) for counter in counters)

    def _labelled_code(self, spender: Spender, code: str) -> Counter:
        return self._calls.labels(spender.provider, spender.model, spender.database, spender.key, code)

    def retried(self, model: EmbeddingModel, texts: int) -> None:
        """Count texts that are sent again."""
        self._retries.labels(model.provider.id, model.model.name).inc(texts)

    def left_alone(self, provider: str) -> None:
        """Count that a provider was found to be down."""
        self._left_alone.labels(provider).inc()

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"orrery_embedder_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"orrery_embedder_{name}", text, labels, registry=self.registry, buckets=buckets)
