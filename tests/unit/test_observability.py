"""docs/observability.md names every metric there is, with its type and labels, and every setting."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from services.embedder import settings as embedder_settings
from services.embedder.metrics import EmbedderMetrics
from services.gateway import settings as gateway_settings
from services.gateway.metrics import GatewayMetrics
from services.gateway.settings import MetricsSettings
from services.runtime.metrics import WithLabels
from services.runtime.settings import Section
from services.runtime.summaries import Summary
from services.store import settings as store_settings
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
    rows = re.findall(r"^\| `(\w+)` \| (summary|counter|gauge|histogram) \| ([^|]*) \|", PAGE.read_text(), re.MULTILINE)
    told = {(name, kind, labels.replace("`", "").strip()) for name, kind, labels in rows}
    assert told == there


def test_alerts_name_metrics_that_there_are(registries: list[CollectorRegistry]) -> None:
    names = {row[0] for registry in registries for row in metrics_of(registry)} | {
        "process_open_fds",
        "process_max_fds",
    }
    alerts = PAGE.read_text().partition("## Alerts")[2].partition("\n## ")[0]
    used = set(re.findall(r"\b(?:orrery|process|http|command)_\w+", alerts)) - {"command_processor"}
    assert len(used) > 10
    for name in used:
        assert name in names or re.sub(r"_(count|sum|bucket)$", "", name) in names


@pytest.mark.parametrize(
    ("prefix", "settings"),
    [
        ("ORRERY_GATEWAY_LOG", gateway_settings.LogSettings()),
        ("ORRERY_GATEWAY_METRICS", gateway_settings.MetricsSettings()),
        ("ORRERY_STORE_LOG", store_settings.LogSettings()),
        ("ORRERY_STORE_METRICS", store_settings.MetricsSettings()),
        ("ORRERY_EMBEDDER_LOG", embedder_settings.LogSettings()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_page_names_every_setting(prefix: str, settings: Section) -> None:
    page = PAGE.read_text()
    for name in settings.__struct_fields__:
        assert f"{prefix}_{name.upper()}" in page
