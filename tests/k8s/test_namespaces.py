"""The production manifests run for real: every pod a host of its own, under load, through a restart of each service.

Commands, variables, mounts, users, ports, probes, names, certificates' names and network policies are those of the
rendered manifests. What differs from a cluster: kubelet, endpoints, DNS and services' addresses are `node.py`'s;
starting containers are probed more often; limits of memory and CPU are not applied; and texts are embedded
by the provider `deterministic`, which `ORRERY_ALLOW_PROVIDERS` adds, because there is no internet here.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from services.cli.certificates import Authority
from tests.k8s.cluster import NODE, Cluster, Pod, why_not
from tests.k8s.containers import Surroundings, own
from tests.k8s.manifests import COMPONENTS, of_kind, render, workload
from tests.k8s.policies import Host, Policies

OVERLAY = "production"
REPLICAS = {"gateway": 2, "embedder": 2, "store": 1}
USER = 10001
COLLECTION = "/v1/default_keyspace/said"
#: The longest that a request may take, in seconds: the gateway waits for the store for 20, and then says so.
PAUSE_SECONDS = 30.0

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.timeout(300),
    pytest.mark.skipif((reason := why_not()) is not None, reason=str(reason)),
]


@dataclass
class Deployment:
    """What runs, and how to reach it: `client` is a host outside of the cluster."""

    cluster: Cluster
    client: Host
    token: str
    authority: Authority
    secrets: Path

    @property
    def address(self) -> str:
        """The address of the Data API's service."""
        return self.cluster.addresses["orrery-gateway"]

    def ask(self, path: str, command: dict[str, Any]) -> dict[str, Any]:
        """Send a command from the client's host and return the answer."""
        ca = str(self.secrets / "orrery-http-tls" / "ca.crt")
        curl = ["curl", "--silent", "--show-error", "--fail", "--max-time", "30", "--cacert", ca]
        place = f"orrery-gateway:443:{self.address}"
        headers = ["--header", f"Token: {self.token}", "--header", "Content-Type: application/json"]
        asked = self.cluster.run(
            self.client,
            *curl,
            "--resolve",
            place,
            *headers,
            "--data",
            json.dumps(command),
            f"https://orrery-gateway{path}",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, problem = asked.communicate(timeout=40)
        assert asked.returncode == 0, problem
        return dict(json.loads(output))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The production overlay, all pods ready."""
    folder = tmp_path_factory.mktemp("cluster")
    kept, claims = folder / "secrets", folder / "claims"
    authority = Authority.new()
    for thing in of_kind(render("complete"), "Certificate"):
        spec = thing["spec"]
        if "dnsNames" in spec:
            authority.issue(kept / spec["secretName"], tuple(spec["dnsNames"]), client="client auth" in spec["usages"])
    for claim in workload(OVERLAY, "store").thing["spec"]["volumeClaimTemplates"]:
        (claims / claim["metadata"]["name"]).mkdir(parents=True)
    for path in (kept, claims):
        own(path, USER)
    token = secrets.token_urlsafe(24)
    surroundings = Surroundings(
        secrets=kept,
        claims=claims,
        values={("orrery-token", "token"): token},
        variables={"ORRERY_ALLOW_PROVIDERS": "deterministic"},
        resolver=NODE,
        domain="orrery.svc.cluster.local",
    )
    with Cluster(folder, surroundings, render(OVERLAY)) as cluster:
        client = Host("client", cluster.address())
        cluster.add_host(client)
        pods = [cluster.start(workload(OVERLAY, name)) for name in COMPONENTS for _ in range(REPLICAS[name])]
        cluster.wait_ready(*pods)
        yield Deployment(cluster, client, token, authority, kept)


class Load:
    """The load client on its host, from the object's making on."""

    def __init__(self, deployment: Deployment, output: Path) -> None:
        self._output = output
        ca = str(deployment.secrets / "orrery-http-tls" / "ca.crt")
        with output.open("w") as file:
            self._process = deployment.cluster.run(
                deployment.client,
                sys.executable,
                "-m",
                "tests.k8s.load_client",
                "orrery-gateway",
                deployment.address,
                "443",
                ca,
                COLLECTION,
                stdin=subprocess.PIPE,
                stdout=file,
                env={**os.environ, "TOKEN": deployment.token},
            )

    def stop(self) -> list[dict[str, Any]]:
        """End the load and return what became of every attempt."""
        self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        return [json.loads(line) for line in self._output.read_text().splitlines()]


def pod_of(deployment: Deployment, component: str) -> Pod:
    return next(pod for pod in deployment.cluster.pods.values() if pod.workload.component == component)


def test_a_container_runs_as_the_manifest_says(deployment: Deployment) -> None:
    for component in COMPONENTS:
        process = Path(f"/proc/{pod_of(deployment, component).process.pid}")
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
        assert status["Uid"].split() == [str(USER)] * 4
        assert status["NoNewPrivs"] == "1"
        for capabilities in ("CapEff", "CapPrm", "CapInh", "CapBnd"):
            assert int(status[capabilities], 16) == 0
        root = next(line for line in (process / "mountinfo").read_text().splitlines() if line.split()[4] == "/")
        assert root.split()[5].startswith("ro")


def test_policies_hold(deployment: Deployment) -> None:
    cluster = deployment.cluster
    pods = {name: pod_of(deployment, name) for name in COMPONENTS}
    neighbour = Host("neighbour", cluster.address(), pods["store"].host.namespace, {"app": "something-else"})
    cluster.add_host(neighbour)
    asked = [
        (source, target, port)
        for source in (*(pod.host for pod in pods.values()), neighbour, deployment.client)
        for target in (pod.host for pod in pods.values())
        for port in target.ports.values()
        if source is not target
    ]
    policies = Policies(render(OVERLAY))
    expected = {(s.name, t.name, port): policies.allow(s, t, port) for s, t, port in asked}
    tried = {(s.name, t.name, port): connect(deployment, s, t, port) for s, t, port in asked}
    # Its own node reaches every port, and on each of them something listens.
    listening = [connect(deployment, None, pod.host, port) for pod in pods.values() for port in pod.host.ports.values()]
    assert {each: process.wait(60) == 0 for each, process in tried.items()} == expected
    assert not [process for process in listening if process.wait(60) != 0]
    assert sum(expected.values()) == 3, "gateway to store and embedder, and the client to the gateway"


def connect(deployment: Deployment, source: Host | None, target: Host, port: int) -> subprocess.Popen[str]:
    """Try to connect from a host, or the node, to another one: the process succeeds or fails."""
    code = f"import socket; socket.create_connection(('{target.address}', {port}), 2)"
    return deployment.cluster.run(source, sys.executable, "-S", "-c", code, stderr=subprocess.DEVNULL)


def test_nobody_calls_an_rpc_without_a_certificate_of_the_authority_and_a_name_that_is_listed(
    deployment: Deployment, tmp_path: Path
) -> None:
    store = pod_of(deployment, "store")
    Authority.new().issue(tmp_path / "foreign", ("orrery-gateway",))
    deployment.authority.issue(tmp_path / "unlisted", ("somebody",))
    deployment.authority.issue(tmp_path / "listed", ("orrery-gateway",))
    # From its own node, which no policy keeps away: certificates alone have to.
    assert called(deployment, store, None) == "UNAVAILABLE"
    assert called(deployment, store, tmp_path / "foreign") == "UNAVAILABLE"
    assert called(deployment, store, tmp_path / "unlisted") == "PERMISSION_DENIED"
    assert called(deployment, store, tmp_path / "listed") == "OK"


def called(deployment: Deployment, pod: Pod, certificate: Path | None) -> str:
    """Call the store from the node, with a certificate or without TLS, and return the status."""
    target, authority = (
        f"{pod.host.address}:{pod.host.ports['rpc']}",
        deployment.secrets / "orrery-store-tls" / "ca.crt",
    )
    arguments = [target, pod.workload.name, str(authority), *([] if certificate is None else [str(certificate)])]
    asked = deployment.cluster.run(None, sys.executable, "-m", "tests.k8s.caller", *arguments, stdout=subprocess.PIPE)
    return str(asked.communicate(timeout=30)[0].strip())


def test_commands_run_in_a_pod_and_only_where_they_may(deployment: Deployment) -> None:
    store, embedder = pod_of(deployment, "store"), pod_of(deployment, "embedder")
    made = deployment.cluster.execute(store, "tokens", "create", "--role", "admin", "--all-databases")
    assert made.returncode == 0, made.stderr
    token = next(line for line in made.stdout.split() if line.startswith("orrery:"))
    answer = replace(deployment, token=token).ask("/v1", {"findKeyspaces": {}})
    assert answer == {"status": {"keyspaces": ["default_keyspace"]}}
    assert deployment.cluster.execute(embedder, "keys", "list").returncode == 0
    refused = deployment.cluster.execute(embedder, "keys", "remove", "openai", "default")
    assert "CredentialService/DeleteCredential" in refused.stderr


def test_every_service_is_replaced_under_load_and_nothing_is_lost(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = {"provider": "deterministic", "modelName": "hash"}
    options = {"vector": {"dimension": 32, "service": service}}
    made = deployment.ask("/v1/default_keyspace", {"createCollection": {"name": "said", "options": options}})
    assert made["status"] == {"ok": 1}, made
    windows = {}
    load = Load(deployment, tmp_path / "attempts")
    for component in ("gateway", "embedder", "store"):
        before = set(deployment.cluster.pods)
        began = time.monotonic()
        deployment.cluster.roll(component)
        windows[component] = (began, time.monotonic())
        assert len(before - set(deployment.cluster.pods)) == REPLICAS[component]
        time.sleep(1)
    lines = load.stop()

    # An insert that is found to be there was made by an attempt whose answer was lost, and which counts as failed.
    failed = [line for line in lines if line["wrong"] not in (None, "DOCUMENT_ALREADY_EXISTS")]
    for component, (began, ended) in windows.items():
        there = [line for line in lines if line["at"] <= ended and began <= line["at"] + line["seconds"]]
        bad = [line for line in failed if line in there]
        slowest = max(line["seconds"] for line in there)
        with capsys.disabled():
            print(f"\n{component} replaced: {len(there)} requests, {len(bad)} failed, the slowest took {slowest:.2f} s")
        if component == "store":
            # These were sent again until they were acknowledged.
            failed = [line for line in failed if line not in bad]
        assert slowest < PAUSE_SECONDS
    assert not failed
    assert not [pod.name for pod in deployment.cluster.pods.values() if pod.restarts]
    # Each insert was acknowledged in the end, and nobody else inserts: as many are there as were acknowledged.
    acknowledged = {line["id"] for line in lines if line["kind"] == "insert"}
    stats = deployment.cluster.execute(pod_of(deployment, "store"), "stats", "default_keyspace.said", "--json")
    assert stats.returncode == 0, stats.stderr
    assert int(json.loads(stats.stdout)["figures"]["documents"]) == len(acknowledged)
