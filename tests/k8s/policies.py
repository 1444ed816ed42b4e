"""What network policies allow: who may open a connection to which port of whom.

As Kubernetes has it: a host that a policy selects for a direction may do in it only what some such policy allows; a
connection needs the leave of both sides. kubelet, on the node itself, always reaches its pods.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.k8s.manifests import Object, Workload, of_kind, selects


@dataclass(frozen=True, slots=True)
class Host:
    """A pod, or with `namespace` None a host outside of the cluster. `ports` are its container's, by name."""

    name: str
    address: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, workload: Workload, address: str, name: str | None = None) -> "Host":
        """Return a pod of a workload."""
        namespace = workload.thing["metadata"]["namespace"]
        return cls(name or workload.name, address, namespace, workload.labels, workload.ports)


class Policies:
    """The network policies of rendered manifests."""

    def __init__(self, objects: tuple[Object, ...]) -> None:
        self._policies = list(of_kind(objects, "NetworkPolicy"))

    def allow(self, source: Host, target: Host, port: int, protocol: str = "TCP") -> bool:
        """Tell whether a host may connect to a port of another one."""
        return all(
            self._allows(direction, rules, peers, subject, peer, target, port, protocol)
            for direction, rules, peers, subject, peer in (
                ("Egress", "egress", "to", source, target),
                ("Ingress", "ingress", "from", target, source),
            )
        )

    def _allows(
        self,
        direction: str,
        rules: str,
        peers: str,
        subject: Host,
        peer: Host,
        target: Host,
        port: int,
        protocol: str,
    ) -> bool:
        policies = [
            policy
            for policy in self._policies
            if policy["metadata"]["namespace"] == subject.namespace
            and selects(policy["spec"]["podSelector"], subject.labels)
            and direction in policy["spec"]["policyTypes"]
        ]
        if not policies:
            return True
        return any(
            _peer_matches(rule.get(peers), peer, policy["metadata"]["namespace"])
            and _port_matches(rule.get("ports"), target, port, protocol)
            for policy in policies
            for rule in policy["spec"].get(rules, ())
        )


def _peer_matches(peers: list[Any] | None, host: Host, namespace: str) -> bool:
    return peers is None or any(_one_matches(peer, host, namespace) for peer in peers)


def _one_matches(peer: Mapping[str, Any], host: Host, namespace: str) -> bool:
    if "ipBlock" in peer:
        # Whether a pod's address counts here is the network plugin's choice; none of ours is in a block.
        address = ipaddress.ip_address(host.address)
        inside = address in ipaddress.ip_network(peer["ipBlock"]["cidr"])
        return inside and not any(address in ipaddress.ip_network(block) for block in peer["ipBlock"].get("except", ()))
    if host.namespace is None:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": host.namespace}):
            return False
    elif host.namespace != namespace:
        return False
    return selects(peer.get("podSelector", {}), host.labels)


def _port_matches(ports: list[Any] | None, target: Host, port: int, protocol: str) -> bool:
    return ports is None or any(
        entry.get("protocol", "TCP") == protocol and target.ports.get(entry["port"], entry["port"]) == port
        for entry in ports
    )
