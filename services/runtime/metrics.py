"""Metrics of a process for Prometheus: what every service has, and how they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from services.runtime.addresses import split_host_port
from services.runtime.errors import ConfigurationError

#: Bounds of durations in seconds, of what a service does itself.
DURATIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class CallMetrics:
    """RPCs that a service answered. Safe to use from many threads."""

    def __init__(self, service: str, registry: CollectorRegistry) -> None:
        self._answered = Counter(
            f"orrery_{service}_rpcs",
            "RPCs that were answered, by the code of their error, `OK` for none.",
            ("method", "code"),
            registry=registry,
        )
        self._seconds = Histogram(
            f"orrery_{service}_rpc_seconds",
            "Duration of RPCs, without the time that they waited for a thread.",
            ("method",),
            registry=registry,
            buckets=DURATIONS,
        )
        # Finding a metric by its labels costs more than counting with it.
        self._known: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def answered(self, method: str, code: str, seconds: float) -> None:
        """Count an RPC by its short name, such as `FindDocuments`."""
        known = self._known.get((method, code))
        if known is None:
            known = self._answered.labels(method, code), self._seconds.labels(method)
            self._known[method, code] = known
        known[0].inc()
        known[1].observe(seconds)


class WithLabels(Collector):
    """What another registry has, every sample with some more labels."""

    def __init__(self, inner: CollectorRegistry, labels: Mapping[str, str]) -> None:
        self._inner = inner
        self._labels = dict(labels)

    def collect(self) -> Iterator[Metric]:
        """Yield the inner registry's families."""
        for metric in self._inner.collect():
            metric.samples = [_with(sample, self._labels) for sample in metric.samples]
            yield metric


def _with(sample: Sample, labels: Mapping[str, str]) -> Sample:
    return sample._replace(labels={**sample.labels, **labels})


def process_metrics(registry: CollectorRegistry) -> None:
    """Add CPU time, memory, open files and start time of this process; only Linux tells them."""
    ProcessCollector(registry=registry)


def exposition(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return what a registry has as the caller accepts it, and its content type: Prometheus text or OpenMetrics."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def serve_metrics(address: str | None, variable: str, registry: CollectorRegistry) -> None:
    """Serve metrics over HTTP at HOST:PORT, on threads of their own, until the process ends; None does nothing.

    Raises `ConfigurationError`, naming the variable, for an address that cannot be used.
    """
    if not address:
        return
    try:
        host, port = split_host_port(address)
        start_http_server(port, host, registry)
    except (ValueError, OSError) as problem:
        raise ConfigurationError(f"{variable}: cannot serve metrics at {address}: {problem}") from None
