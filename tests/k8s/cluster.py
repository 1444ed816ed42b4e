"""Pods as hosts of their own: network namespaces on one bridge, with the addresses, names and policies of a cluster.

The bridge, and what a node does for its pods (`node.py`), are in a namespace too: nothing of the machine's own network
is touched. Network policies become rules of the kernel's routing: a packet that no policy allows has no route.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.k8s.containers import Surroundings, environment, script
from tests.k8s.manifests import ROOT, WORKLOADS, Object, Workload, of_kind, selects
from tests.k8s.policies import Host, Policies

NETWORK = "10.66.0"
NODE = f"{NETWORK}.1"
NAMES = Host("names", NODE, "kube-system", {"k8s-app": "kube-dns"}, {"dns": 53})
PROGRAMS = ("ip", "unshare", "nsenter", "setpriv", "chroot", "curl")
START_SECONDS = 150
MOST_RESTARTS = 2
_ALLOWED, _REFUSED, _LOCAL = 100, 900, 1000


def why_not() -> str | None:
    """Return why namespaces cannot be used here, None where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"there is no {', '.join(missing)} (packages iproute2, util-linux, curl)"
    name = f"orr{os.getpid()}t"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, timeout=10, check=False)
    if made.returncode:
        return f"`ip netns add` is not permitted: {made.stderr.strip()}"
    rule = ["ip", "-n", name, "rule", "add", "ipproto", "tcp", "dport", "1", "prohibit"]
    bridge = ["ip", "-n", name, "link", "add", "br0", "type", "bridge"]
    try:
        for command in (rule, bridge):
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
            if done.returncode:
                return f"the kernel lacks `{' '.join(command[3:])}`: {done.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "delete", name], timeout=10, check=True)
    return None


@dataclass
class Pod:
    """A pod. `process` is its container, whose output is in the file `log`; `restarts` tells how often it ended."""

    name: str
    workload: Workload
    host: Host
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)
    restarts: int = 0


class Cluster:
    """A node, its pods, and other hosts; all of it is gone when the object is left.

    Services that are not headless have addresses of their own, `addresses`.
    """

    def __init__(self, folder: Path, surroundings: Surroundings, objects: tuple[Object, ...]) -> None:
        self._folder, self._surroundings, self._policies = folder, surroundings, Policies(objects)
        self._numbers = iter(range(2, 250))
        self._services = [each for each in of_kind(objects, "Service") if each["spec"].get("clusterIP") != "None"]
        self.addresses = {each["metadata"]["name"]: self.address() for each in self._services}
        self._workloads = [Workload(each) for each in of_kind(objects, *WORKLOADS)]
        self._prefix = f"orr{os.getpid()}"
        self._hosts: dict[str, Host] = {}
        self._names = 0
        self.pods: dict[str, Pod] = {}

    def __enter__(self) -> Self:
        try:
            self._start_node()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clean()

    # --- hosts ---

    def _start_node(self) -> None:
        node = f"{self._prefix}-node"
        run("ip", "netns", "add", node)
        batch(
            node,
            "link set lo up",
            # With an address of its own, or it would have the lowest of those that are connected, and change with them.
            "link add br0 address 02:00:00:00:00:01 type bridge",
            f"address add {NODE}/24 dev br0",
            *(f"address add {address}/24 dev br0" for address in self.addresses.values()),
            "link set br0 up",
        )
        self._node = self.run(
            None,
            sys.executable,
            "-m",
            "tests.k8s.node",
            NODE,
            self._surroundings.domain,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for service in self._services:
            name = service["metadata"]["name"]
            for port in service["spec"]["ports"]:
                self.tell(serve=name, address=self.addresses[name], port=port["port"], target=port["targetPort"])

    def tell(self, **command: Any) -> dict[str, Any]:
        """Tell the node something and return its answer."""
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.write(json.dumps(command) + "\n")
        self._node.stdin.flush()
        return dict(json.loads(self._node.stdout.readline()))

    def add_host(self, host: Host) -> str:
        """Connect a host to the bridge, let policies hold for it, and return its namespace."""
        namespace = self.namespace(host)
        run("ip", "netns", "add", namespace)
        link = f"v{host.address.rpartition('.')[2]}"
        run(
            "ip",
            "-n",
            f"{self._prefix}-node",
            "link",
            "add",
            link,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            namespace,
        )
        batch(f"{self._prefix}-node", f"link set {link} master br0", f"link set {link} up")
        batch(namespace, "link set lo up", f"address add {host.address}/24 dev eth0", "link set eth0 up")
        # Hosts outside of the cluster are nobody's to restrict.
        if host.namespace is not None:
            batch(namespace, *self._isolation(host))
        for other in self._hosts.values():
            for here, there in ((host, other), (other, host)):
                if here.namespace is not None:
                    batch(
                        self.namespace(here), *(f"rule add pref {_ALLOWED} {rule}" for rule in self._rules(there, here))
                    )
        self._hosts[host.address] = host
        return namespace

    def namespace(self, host: Host) -> str:
        """Return the namespace of a host."""
        return f"{self._prefix}-{host.address.rpartition('.')[2]}"

    def _isolation(self, host: Host) -> list[str]:
        """Return what lets a host talk to its node and to names, and to nobody else until there are rules for them."""
        answers = [f"iif lo to {NODE} ipproto tcp sport {port} lookup main" for port in host.ports.values()]
        allowed = [
            "iif lo to 127.0.0.0/8 lookup local",
            # A pod's own node always reaches it.
            f"iif eth0 from {NODE} lookup local",
            *answers,
            *self._rules(NAMES, host),
            *self._service_rules(host),
        ]
        return [
            f"rule add pref {_LOCAL} lookup local",
            "rule delete pref 0",
            *(f"rule add pref {_ALLOWED} {rule}" for rule in dict.fromkeys(allowed)),
            *(
                f"rule add pref {_REFUSED} iif {way} ipproto {kind} prohibit"
                for way in ("lo", "eth0")
                for kind in ("tcp", "udp")
            ),
        ]

    def _rules(self, there: Host, here: Host) -> list[str]:
        """Return what a host's routing lets through between it and another one, by the policies of both directions."""
        rules = []
        for port in here.ports.values():
            if self._policies.allow(there, here, port):
                rules.append(f"iif eth0 from {there.address} ipproto tcp dport {port} lookup local")
                rules.append(f"iif lo to {there.address} ipproto tcp sport {port} lookup main")
        for port in there.ports.values():
            for kind in ("tcp", "udp"):
                if self._policies.allow(here, there, port, kind.upper()):
                    rules.append(f"iif lo to {there.address} ipproto {kind} dport {port} lookup main")
                    rules.append(f"iif eth0 from {there.address} ipproto {kind} sport {port} lookup local")
        return rules

    def _service_rules(self, here: Host) -> list[str]:
        """Return what lets a host connect to the addresses of services: policies speak of the pods behind them.

        Their side of the connection is the node's, which no policy keeps away; `_rules` are for those who call pods.
        """
        rules = []
        for service in self._services:
            address = self.addresses[service["metadata"]["name"]]
            selector = {"matchLabels": service["spec"]["selector"]}
            (target,) = (Host.of(each, address) for each in self._workloads if selects(selector, each.labels))
            for port in service["spec"]["ports"]:
                if self._policies.allow(here, target, target.ports[port["targetPort"]]):
                    rules.append(f"iif lo to {address} ipproto tcp dport {port['port']} lookup main")
                    rules.append(f"iif eth0 from {address} ipproto tcp sport {port['port']} lookup local")
        return rules

    def address(self) -> str:
        """Return an address that no host has had."""
        return f"{NETWORK}.{next(self._numbers)}"

    # --- pods ---

    def start(self, workload: Workload) -> Pod:
        """Start a pod; it is ready later."""
        self._names += 1
        name = f"{workload.name}-{self._names}"
        host = Host.of(workload, self.address(), name)
        self.add_host(host)
        pod = self.pods[name] = Pod(name, workload, host, self._folder / f"{name}.log")
        self._folder.joinpath(f"{name}.root").mkdir()
        self._start_container(pod)
        probes = {probe: workload.container[probe] for probe in ("startupProbe", "readinessProbe")}
        self.tell(start=name, address=host.address, service=workload.name, ports=workload.ports, probes=probes)
        return pod

    def _start_container(self, pod: Pod) -> None:
        command = script(pod.workload, self._surroundings, self._folder / f"{pod.name}.root")
        with pod.log.open("ab") as output:
            pod.process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace(pod.host), "unshare", "--mount", "sh", "-e", "-c", command],
                env=environment(pod.workload, self._surroundings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
            )

    def wait_ready(self, *pods: Pod) -> None:
        """Wait until pods are ready; a container that ends meanwhile is started again, as kubelet does.

        Fails when that happens too often, or when it takes too long.
        """
        deadline = time.monotonic() + START_SECONDS
        while late := [pod for pod in pods if pod.name not in self.tell(status=True)["ready"]]:
            for pod in late:
                said = pod.log.read_text()
                assert time.monotonic() < deadline, f"{pod.name} is not ready:\n{said}"
                if pod.process.poll() is not None:
                    assert pod.restarts < MOST_RESTARTS, f"{pod.name} ended:\n{said}"
                    pod.restarts += 1
                    self._start_container(pod)
            time.sleep(0.1)

    def stop(self, pod: Pod) -> None:
        """Stop a pod as Kubernetes does. Fails when it does not end by itself in its time, or not well."""
        self.tell(leave=pod.name)
        pod.process.send_signal(signal.SIGTERM)
        status = pod.process.wait(pod.workload.pod["terminationGracePeriodSeconds"])
        self.tell(gone=pod.name)
        del self.pods[pod.name]
        assert status == 0, f"{pod.name} ended with {status}:\n{pod.log.read_text()}"

    def roll(self, component: str) -> None:
        """Replace every pod of a service by a new one, in the order of its kind of workload."""
        for old in [pod for pod in self.pods.values() if pod.workload.component == component]:
            if old.workload.thing["kind"] == "StatefulSet":
                self.stop(old)
                self.wait_ready(self.start(old.workload))
            else:
                self.wait_ready(self.start(old.workload))
                self.stop(old)

    def run(self, host: Host | None, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a process on a host, or with None on the node itself."""
        prefix = ["ip", "netns", "exec", f"{self._prefix}-node" if host is None else self.namespace(host)]
        return subprocess.Popen([*prefix, *command], cwd=ROOT, text=True, **options)

    def execute(self, pod: Pod, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run an `orrery` command in a pod, as `kubectl exec` does: beside the container, as its user."""
        user = str(pod.workload.pod["securityContext"]["runAsUser"])
        inside = ["nsenter", "--target", str(pod.process.pid), "--mount", "--net", "--root", "--wd"]
        return subprocess.run(
            [*inside, "--setuid", user, "--setgid", user, sys.executable, "-m", "services.cli", *arguments],
            env=environment(pod.workload, self._surroundings),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    # --- the end ---

    def _clean(self) -> None:
        for pod in self.pods.values():
            pod.process.kill()
            pod.process.wait()
        if hasattr(self, "_node"):
            self._node.kill()
            self._node.wait()
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines():
            if (name := line.split()[0]).startswith(f"{self._prefix}-"):
                run("ip", "netns", "delete", name)


def run(*command: str) -> None:
    """Run a command that is to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def batch(namespace: str, *commands: str) -> None:
    """Run commands of `ip` in a namespace, all at once."""
    if commands:
        text = "\n".join(commands) + "\n"
        done = subprocess.run(
            ["ip", "-n", namespace, "-batch", "-"], input=text, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, f"{namespace}: {text}{done.stderr}"
