"""Alerts and the dashboard ask for metrics that there are, by labels that they have, of services that are scraped."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.k8s.manifests import COMPONENTS, ROOT, identity, of_kind, render, workload

#: Metrics of others, with the labels that are used of them: Prometheus' own, kubelet's, and every client library's.
FOREIGN = {
    "up": {"job"},
    "kubelet_volume_stats_available_bytes": {"persistentvolumeclaim"},
    "kubelet_volume_stats_capacity_bytes": {"persistentvolumeclaim"},
    "process_open_fds": {"job"},
    "process_max_fds": {"job"},
    "process_start_time_seconds": {"job"},
    "process_cpu_seconds_total": {"job"},
    "process_resident_memory_bytes": {"job"},
}
#: Labels that scraping adds to every metric, and those of a summary's and a histogram's lines.
ADDED = {"namespace", "quantile", "le"}


def documented() -> dict[str, set[str]]:
    """Return every metric of docs/observability.md with its labels."""
    metrics = {}
    for line in (ROOT / "docs" / "observability.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[1] in ("counter", "gauge", "histogram", "summary"):
            labels = set(re.findall(r"`(\w+)`", cells[2]))
            name = cells[0].strip("`")
            metrics[name] = labels
            for suffix in {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_max", "_sum", "_count")}.get(
                cells[1], ()
            ):
                metrics[name + suffix] = labels
    return metrics


def expressions() -> Iterator[tuple[str, str]]:
    """Yield what asks, and the expression it asks with."""
    for thing in of_kind(render("complete"), "PrometheusRule"):
        for group in thing["spec"]["groups"]:
            for rule in group["rules"]:
                yield rule["alert"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def dashboard() -> dict[str, list[dict[str, object]]]:
    """Return the dashboard that Grafana's sidecar would load."""
    (thing,) = (
        each for each in of_kind(render("complete"), "ConfigMap") if "grafana_dashboard" in each["metadata"]["labels"]
    )
    return dict(json.loads(thing["data"]["orrery.json"]))


def test_every_expression_asks_for_metrics_that_there_are_by_labels_that_they_have() -> None:
    known = {**documented(), **FOREIGN}
    wrong = []
    for title, expression in expressions():
        bare = re.sub(r'"[^"]*"', '""', expression)
        assert bare.count("(") == bare.count(")"), title
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"\b(?:by|ignoring)\s*\(([^)]*)\)", bare))))
        asked = re.findall(
            r"\b([a-z][a-z0-9]*(?:_[a-z0-9]+)+|up)\b(\s*\{[^}]*\})?", re.sub(r"\b(?:by|ignoring)\s*\([^)]*\)", "", bare)
        )
        metrics = [
            (name, matchers)
            for name, matchers in asked
            if name not in ("group_left", "histogram_quantile", "max_over_time")
        ]
        # Names within a matcher are labels, not metrics.
        assert metrics, title
        for name, matchers in metrics:
            if name not in known:
                wrong.append(f"{title}: there is no {name}")
                continue
            used = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", matchers)) | grouped
            wrong += [f"{title}: {name} has no label {label}" for label in sorted(used - known[name] - ADDED)]
    assert not wrong


def test_every_alert_is_explained_in_the_manual_once() -> None:
    manual = (ROOT / "docs" / "operations.md").read_text()
    alerts = [
        rule["alert"]
        for thing in of_kind(render("complete"), "PrometheusRule")
        for group in thing["spec"]["groups"]
        for rule in group["rules"]
    ]
    assert len(alerts) == len(set(alerts))
    assert re.findall(r"^\| `(Orrery\w+)` \|", manual, re.MULTILINE) == alerts


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_service_is_scraped(component: str) -> None:
    objects = render("complete")
    (service,) = (
        each
        for each in of_kind(objects, "Service")
        if each["metadata"]["labels"].get("app.kubernetes.io/component") == component
    )
    ports = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
    scraped = [
        (identity(monitor), endpoint)
        for monitor in of_kind(objects, "ServiceMonitor")
        for endpoint in monitor["spec"]["endpoints"]
        if matches(monitor["spec"]["selector"], service["metadata"]["labels"])
    ]
    assert len(scraped) == 1
    endpoint = scraped[0][1]
    assert ports[endpoint["port"]] in workload("complete", component).ports
    assert (endpoint.get("scheme") == "https") == (
        "ORRERY_HTTP_TLS_CERT" in workload("complete", component).environment
    )


def matches(selector: dict[str, object], labels: dict[str, str]) -> bool:
    """Tell whether a selector with `matchLabels` or expressions of the operator `In` matches labels."""
    wanted = dict(selector.get("matchLabels", {}))
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(key) == value for key, value in wanted.items())


def test_panels_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    taken = [
        (column, row)
        for place in places
        for column in range(place["x"], place["x"] + place["w"])
        for row in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
