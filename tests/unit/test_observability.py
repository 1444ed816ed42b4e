"""docs/observability.md names every metric there is, with its type and labels, and every setting."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from services.embedder.metrics import EmbedderMetrics
from services.gateway.metrics import GatewayMetrics
from services.gateway.settings import MetricsSettings
from services.runtime.metrics import WithLabels
from services.runtime.summaries import Summary
from services.store.engine import Engine
from services.store.metrics import LaneMetrics
from services.store.server import admission_lanes
from services.store.settings import AdmissionSettings

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"
#: Metrics of the operating system, by Prometheus's own names.
PROCESS = "process_"


def metrics_of(registry: CollectorRegistry) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and labels of every family that a registry shows."""
    for collector in list(registry._collector_to_names):
        if isinstance(collector, WithLabels):
            yield from metrics_of(collector._inner)
            continue
        for family in collector.collect():
            if not family.name.startswith(PROCESS):
                name = f"{family.name}_total" if family.type == "counter" else family.name
                yield name, family.type, ", ".join(labels_of(collector, family))


def labels_of(collector: Collector, family: object) -> tuple[str, ...]:
    if isinstance(collector, Summary):
        return collector._labels
    return tuple(getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ()))


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[list[CollectorRegistry]]:
    engine = Engine(tmp_path / "store")
    engine.metrics.registry.register(LaneMetrics(admission_lanes(AdmissionSettings())))
    yield [
        GatewayMetrics(MetricsSettings(tenants="databases")).registry,
        engine.metrics.registry,
        EmbedderMetrics().registry,
    ]
    engine.close()


def test_the_page_has_a_row_for_every_metric_and_none_for_others(registries: list[CollectorRegistry]) -> None:
    there = {row for registry in registries for row in metrics_of(registry) if not row[0].endswith("_max")}
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", PAGE.read_text(), re.MULTILINE)
    told = {(name, kind, labels.replace("`", "").strip()) for name, kind, labels in rows}
    assert told == there
