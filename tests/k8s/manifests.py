"""The manifests of an overlay as kustomize renders them, and questions that tests ask of them."""

import functools
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OVERLAYS = ("dev", "production", "complete")
WORKLOADS = ("Deployment", "StatefulSet")
COMPONENTS = ("gateway", "embedder", "store")

Object = Mapping[str, Any]


def kustomize() -> list[str] | None:
    """Return the command that renders a folder, or None where neither kubectl nor kustomize is there."""
    built = ROOT / "build" / "k8s" / "bin" / "kustomize"
    if kubectl := shutil.which("kubectl"):
        return [kubectl, "kustomize"]
    if found := shutil.which("kustomize") or (str(built) if built.exists() else None):
        return [found, "build"]
    return None


@functools.cache
def render(overlay: str) -> tuple[Object, ...]:
    """Return the objects of an overlay, in the order in which they would be applied. Fails where it does not build."""
    command = kustomize()
    if command is None:
        pytest.skip("neither kubectl nor kustomize is on PATH: `make check-k8s` installs kustomize where Go is")
    done = subprocess.run(
        [*command, str(ROOT / "k8s" / "overlays" / overlay)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize warns: {done.stderr}"
    return tuple(yaml.safe_load_all(done.stdout))


def identity(thing: Object) -> str:
    """Return `Kind/name`."""
    return f"{thing['kind']}/{thing['metadata']['name']}"


def of_kind(objects: tuple[Object, ...], *kinds: str) -> Iterator[Object]:
    """Yield the objects of some kinds."""
    return (thing for thing in objects if thing["kind"] in kinds)


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector matches labels. An empty one matches all; only `matchLabels` is known."""
    assert selector is not None
    assert set(selector) <= {"matchLabels"}, f"this selector is not understood: {selector}"
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or StatefulSet with its one container."""

    thing: Object

    @property
    def name(self) -> str:
        """Its name in the namespace."""
        return str(self.thing["metadata"]["name"])

    @property
    def component(self) -> str:
        """Which service it runs: gateway, embedder or store."""
        return self.labels["app.kubernetes.io/component"]

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its pods."""
        return dict(self.thing["spec"]["template"]["metadata"]["labels"])

    @property
    def pod(self) -> Object:
        """What its pods are to be."""
        return self.thing["spec"]["template"]["spec"]

    @property
    def container(self) -> Object:
        """Its container."""
        (container,) = self.pod["containers"]
        return container

    @property
    def ports(self) -> dict[str, int]:
        """Its container's ports by name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def environment(self) -> dict[str, Object]:
        """Its container's variables by name, each as written."""
        return {entry["name"]: entry for entry in self.container["env"]}

    @property
    def volumes(self) -> dict[str, Object]:
        """Its volumes by name, those of claims it makes for itself included, as `persistentVolumeClaim`."""
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        for claim in self.thing["spec"].get("volumeClaimTemplates", ()):
            name = claim["metadata"]["name"]
            volumes[name] = {"name": name, "persistentVolumeClaim": {"claimName": name}}
        return volumes

    def value(self, variable: str) -> str:
        """Return the value that is written for a variable."""
        return str(self.environment[variable]["value"])


def workload(overlay: str, component: str) -> Workload:
    """Return what runs a service in an overlay."""
    found = [
        candidate
        for candidate in map(Workload, of_kind(render(overlay), *WORKLOADS))
        if candidate.component == component
    ]
    assert len(found) == 1, f"{overlay} has {len(found)} workloads for {component}"
    return found[0]
