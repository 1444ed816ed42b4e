"""What every container must have: bounds, probes, no rights, and variables, ports, files and secrets that exist."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import msgspec
import pytest
from orrery.embedder.v1 import embedder_pb2
from orrery.store.v1 import access_pb2, operations_pb2, store_pb2

from services.embedder.settings import Settings as EmbedderSettings
from services.gateway.settings import Settings as GatewaySettings
from services.runtime.callers import Callers
from services.store.settings import Settings as StoreSettings
from tests.k8s.manifests import COMPONENTS, OVERLAYS, ROOT, Workload, of_kind, render, selects, workload

every_workload = pytest.mark.parametrize(
    ("overlay", "component"), [(overlay, component) for overlay in OVERLAYS for component in COMPONENTS]
)


def known_variables() -> set[str]:
    """Return every variable that the code reads: those it names, and those of the settings' sections."""
    named = {
        name
        for path in (ROOT / "services").rglob("*.py")
        for name in re.findall(r"\b(?:ORRERY|OTEL)_[A-Z0-9_]+[A-Z0-9]\b", path.read_text())
    }
    sections = {"ORRERY_STORE": StoreSettings, "ORRERY_EMBEDDER": EmbedderSettings, "ORRERY_GATEWAY": GatewaySettings}
    for prefix, kind in sections.items():
        for section in msgspec.structs.fields(kind):
            for value in getattr(section.type, "__struct_fields__", ()):
                named.add(f"{prefix}_{section.name}_{value}".upper())
    return named


@every_workload
def test_container_has_no_rights(overlay: str, component: str) -> None:
    tested = workload(overlay, component)
    pod, container = tested.pod["securityContext"], tested.container["securityContext"]
    assert pod["runAsNonRoot"]
    assert pod["runAsUser"] > 10_000
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["readOnlyRootFilesystem"]
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert tested.pod["automountServiceAccountToken"] is False
    assert tested.pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(tested.pod)
    assert not [volume for volume in tested.volumes.values() if "hostPath" in volume]


@every_workload
def test_container_has_bounds(overlay: str, component: str) -> None:
    resources = workload(overlay, component).container["resources"]
    for bound in ("requests", "limits"):
        assert set(resources[bound]) == {"cpu", "memory"}


@every_workload
def test_probes_ask_ports_that_the_service_listens_on(overlay: str, component: str) -> None:
    tested = workload(overlay, component)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        ask = tested.container[probe]
        if component == "gateway":
            scheme = "HTTPS" if "ORRERY_HTTP_TLS_CERT" in tested.environment else "HTTP"
            assert ask["httpGet"].get("scheme", "HTTP") == scheme
            assert tested.ports[ask["httpGet"]["port"]] == listened(tested)["ORRERY_HTTP"]
        else:
            assert ask["grpc"]["port"] == listened(tested)["ORRERY_HEALTH"]


@every_workload
def test_every_port_is_listened_on_and_the_other_way_round(overlay: str, component: str) -> None:
    tested = workload(overlay, component)
    assert sorted(tested.ports.values()) == sorted(listened(tested).values())


@every_workload
def test_time_to_stop_is_longer_than_the_drain(overlay: str, component: str) -> None:
    tested = workload(overlay, component)
    drain = float(tested.value("ORRERY_DRAIN_SECONDS")) if component == "gateway" else 0
    # The longest request is one that embeds: a minute at the gateway.
    assert tested.pod["terminationGracePeriodSeconds"] >= drain + 60 + 10


@every_workload
def test_every_variable_is_one_that_the_code_reads(overlay: str, component: str) -> None:
    tested = workload(overlay, component)
    assert set(tested.environment) <= known_variables()
    names = [entry["name"] for entry in tested.container["env"]]
    assert len(names) == len(set(names))


@every_workload
def test_secrets_come_by_reference(overlay: str, component: str) -> None:
    for name, entry in workload(overlay, component).environment.items():
        if re.search(r"TOKEN|MASTER_KEY|SECRET|PASSWORD", name):
            assert "secretKeyRef" in entry["valueFrom"], name
            assert "value" not in entry, name


@every_workload
def test_every_file_that_a_variable_names_is_mounted_and_only_data_can_be_written(overlay: str, component: str) -> None:
    tested = workload(overlay, component)
    mounts = {PurePosixPath(mount["mountPath"]): mount for mount in tested.container["volumeMounts"]}
    assert {mount["name"] for mount in mounts.values()} == set(tested.volumes)
    for name, entry in tested.environment.items():
        value = str(entry.get("value", ""))
        if value.startswith("/"):
            assert any(PurePosixPath(value).is_relative_to(path) for path in mounts), name
    for mount in mounts.values():
        volume = tested.volumes[mount["name"]]
        assert mount.get("readOnly", False) == bool({"secret", "projected", "configMap"} & set(volume))
        if secret := volume.get("secret"):
            assert secret["defaultMode"] == 0o440


@every_workload
def test_lists_of_callers_are_read_and_name_the_services_of_this_deployment(overlay: str, component: str) -> None:
    tested = workload(overlay, component)
    if component == "gateway":
        return
    callers = Callers.parse(tested.value("ORRERY_RPC_CALLERS"))
    assert set(callers.rules) == {"orrery-gateway", f"orrery-{component}"}
    services = {
        service.name: {method.name for method in service.methods}
        for contract in (store_pb2, access_pb2, operations_pb2, embedder_pb2)
        for service in contract.DESCRIPTOR.services_by_name.values()
    }
    for rule in set().union(*callers.rules.values()) - {"*"}:
        service, _, method = rule.partition("/")
        assert service in services, rule
        assert not method or method in services[service], rule


def test_keys_of_providers_cannot_be_changed_in_one_embedder_of_several() -> None:
    rules = Callers.parse(workload("production", "embedder").value("ORRERY_RPC_CALLERS")).rules
    reading = {"CredentialService/ForgetDatabase", "CredentialService/ListCredentials"}
    assert set().union(*rules.values()) - reading == {"EmbedderService"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_select_pods_that_have_their_ports(overlay: str) -> None:
    for service in of_kind(render(overlay), "Service"):
        targets = [
            tested
            for tested in map(Workload, of_kind(render(overlay), "Deployment", "StatefulSet"))
            if selects({"matchLabels": service["spec"]["selector"]}, tested.labels)
        ]
        assert [target.name for target in targets] == [service["metadata"]["name"]]
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in targets[0].ports


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_gateways_balance_calls_over_embedders_and_find_the_store_at_one_address(overlay: str) -> None:
    gateway = workload(overlay, "gateway")
    services = {service["metadata"]["name"]: service for service in of_kind(render(overlay), "Service")}
    for variable, address in (("ORRERY_STORE", None), ("ORRERY_EMBEDDER", "None")):
        name, _, port = gateway.value(variable).removeprefix("dns:///").rpartition(":")
        assert services[name]["spec"].get("clusterIP") == address
        assert int(port) in [entry["port"] for entry in services[name]["spec"]["ports"]]
        # The name has to be right where no proxy translates ports.
        assert int(port) == workload(overlay, name.removeprefix("orrery-")).ports["rpc"]


@pytest.mark.parametrize("overlay", ["production", "complete"])
def test_production_scales_spreads_and_survives_the_loss_of_a_node(overlay: str) -> None:
    objects = render(overlay)
    budgets = list(of_kind(objects, "PodDisruptionBudget"))
    scalers = {
        thing["spec"]["scaleTargetRef"]["name"]: thing["spec"] for thing in of_kind(objects, "HorizontalPodAutoscaler")
    }
    for component in ("gateway", "embedder"):
        tested = workload(overlay, component)
        assert scalers[tested.name]["minReplicas"] >= 2
        assert "replicas" not in tested.thing["spec"], "kustomize would undo what the autoscaler does"
        (budget,) = [each for each in budgets if selects(each["spec"]["selector"], tested.labels)]
        assert budget["spec"]["maxUnavailable"] == 1
        assert tested.thing["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        keys = {constraint["topologyKey"] for constraint in tested.pod["topologySpreadConstraints"]}
        assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        assert all(selects(each["labelSelector"], tested.labels) for each in tested.pod["topologySpreadConstraints"])
    store = workload(overlay, "store")
    assert store.thing["spec"]["replicas"] == 1
    assert not [each for each in budgets if selects(each["spec"]["selector"], store.labels)], "no node could be drained"


def test_development_needs_no_network_and_one_of_each() -> None:
    assert workload("dev", "embedder").value("ORRERY_ALLOW_PROVIDERS") == "deterministic"
    for component in COMPONENTS:
        assert workload("dev", component).thing["spec"]["replicas"] == 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_pinned(overlay: str) -> None:
    for component in COMPONENTS:
        image = workload(overlay, component).container["image"]
        assert ":" in image
        assert not image.endswith(":latest")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_that_are_referred_to_are_documented(overlay: str) -> None:
    manual = (ROOT / "docs" / "operations.md").read_text()
    for component in COMPONENTS:
        for name in secrets_of(workload(overlay, component)):
            assert f"`{name}`" in manual, f"docs/operations.md does not say what the Secret {name} holds"


def test_certificates_fill_the_secrets_that_are_mounted() -> None:
    made = {thing["spec"]["secretName"] for thing in of_kind(render("complete"), "Certificate")}
    for component in COMPONENTS:
        mounted = {
            volume["secret"]["secretName"]
            for volume in workload("complete", component).volumes.values()
            if "secret" in volume
        }
        assert mounted <= made


def test_certificates_name_what_callers_expect_of_a_server() -> None:
    names = {
        thing["spec"]["secretName"]: thing["spec"].get("dnsNames")
        for thing in of_kind(render("complete"), "Certificate")
    }
    gateway = workload("complete", "gateway")
    for variable in ("ORRERY_STORE", "ORRERY_EMBEDDER"):
        host = gateway.value(variable).removeprefix("dns:///").rpartition(":")[0]
        assert host in names[f"{host}-tls"]
    assert names["orrery-gateway-tls"] == ["orrery-gateway"], "this is who the gateway is to the others"


def listened(tested: Workload) -> dict[str, int]:
    """Return the ports that variables tell a container to listen on, by variable."""
    return {
        name: int(str(entry["value"]).rpartition(":")[2])
        for name, entry in tested.environment.items()
        if str(entry.get("value", "")).startswith("0.0.0.0:")
    }


def secrets_of(tested: Workload) -> Iterator[str]:
    """Yield the names of the Secrets that a pod needs."""
    for entry in tested.environment.values():
        if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
            yield reference["name"]
    for volume in tested.volumes.values():
        if "secret" in volume:
            yield volume["secret"]["secretName"]
