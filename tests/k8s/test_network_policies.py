"""Which host reaches which port, by the network policies alone."""

import pytest

from tests.k8s.manifests import COMPONENTS, OVERLAYS, render, workload
from tests.k8s.policies import Host, Policies

INTERNET = Host("a provider", "93.184.216.34")
PRIVATE = Host("another machine of the operator's", "10.1.2.3")
METADATA = Host("the cloud's metadata", "169.254.169.254")
NAMES = Host("dns", "10.96.0.10", "kube-system", {"k8s-app": "kube-dns"})
PROMETHEUS = Host("prometheus", "10.2.0.9", "monitoring", {"app.kubernetes.io/name": "prometheus"})
STRANGER = Host("a pod of another namespace", "10.2.0.10", "other", {"app.kubernetes.io/component": "gateway"})


def neighbour(overlay: str, **labels: str) -> Host:
    """Return a pod of the namespace that is none of Orrery's."""
    namespace = workload(overlay, "store").thing["metadata"]["namespace"]
    return Host("a neighbour", "10.2.0.11", namespace, labels)


def pod(overlay: str, component: str) -> Host:
    return Host.of(workload(overlay, component), f"10.2.0.{COMPONENTS.index(component) + 1}")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_between_the_services_only_the_gateway_calls(overlay: str) -> None:
    policies = Policies(render(overlay))
    allowed = {
        (source, target, port)
        for source in COMPONENTS
        for target in COMPONENTS
        for port in pod(overlay, target).ports
        if policies.allow(pod(overlay, source), pod(overlay, target), pod(overlay, target).ports[port])
    }
    # That a gateway reaches the HTTP port of one is of no use to anybody, but needs no rule against it either.
    assert allowed - {("gateway", "gateway", "http")} == {("gateway", "store", "rpc"), ("gateway", "embedder", "rpc")}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_anyone_reaches_the_gateway_and_nobody_else_the_rest(overlay: str) -> None:
    policies = Policies(render(overlay))
    for source in (STRANGER, INTERNET, PRIVATE):
        for component in COMPONENTS:
            target = pod(overlay, component)
            reached = {name for name, port in target.ports.items() if policies.allow(source, target, port)}
            assert reached == ({"http"} if component == "gateway" else set()), (source.name, component)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("component", ["store", "embedder"])
def test_a_neighbour_reaches_a_service_only_by_its_label(overlay: str, component: str) -> None:
    policies, target = Policies(render(overlay)), pod(overlay, component)
    label = {f"orrery/calls-{component}": "true"}
    assert policies.allow(neighbour(overlay, **label), target, target.ports["rpc"])
    assert not policies.allow(neighbour(overlay), target, target.ports["rpc"])
    assert not policies.allow(neighbour(overlay, **label), target, target.ports["metrics"])
    other = pod(overlay, {"store": "embedder", "embedder": "store"}[component])
    assert not policies.allow(neighbour(overlay, **label), other, other.ports["rpc"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_embedder_reaches_the_internet_and_nothing_private(overlay: str) -> None:
    policies = Policies(render(overlay))
    for component in COMPONENTS:
        source = pod(overlay, component)
        assert policies.allow(source, INTERNET, 443) == (component == "embedder")
        assert not policies.allow(source, INTERNET, 80)
        for forbidden in (PRIVATE, METADATA, STRANGER):
            for port in (80, 443, 9000):
                assert not policies.allow(source, forbidden, port), (component, forbidden.name)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everyone_may_ask_for_names(overlay: str) -> None:
    policies = Policies(render(overlay))
    for component in COMPONENTS:
        assert policies.allow(pod(overlay, component), NAMES, 53, "UDP")
        assert policies.allow(pod(overlay, component), NAMES, 53, "TCP")
        assert not policies.allow(pod(overlay, component), NAMES, 443)


def test_prometheus_reaches_metrics_where_monitoring_is_on() -> None:
    for component in ("store", "embedder"):
        target = pod("complete", component)
        metrics, rpc = target.ports["metrics"], target.ports["rpc"]
        assert Policies(render("complete")).allow(PROMETHEUS, target, metrics)
        assert not Policies(render("complete")).allow(PROMETHEUS, target, rpc)
        assert not Policies(render("production")).allow(PROMETHEUS, target, metrics)


def test_traces_reach_the_collector_where_tracing_is_on() -> None:
    collector = Host("collector", "10.2.0.12", "observability", {"app.kubernetes.io/name": "opentelemetry-collector"})
    for component in COMPONENTS:
        endpoint = workload("complete", component).value("OTEL_EXPORTER_OTLP_ENDPOINT")
        assert endpoint == "http://otel-collector.observability:4317"
        assert Policies(render("complete")).allow(pod("complete", component), collector, 4317)
        assert not Policies(render("production")).allow(pod("production", component), collector, 4317)
