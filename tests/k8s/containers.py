"""A container without an engine: a process in the network namespace of its pod that sees nothing but what it was given.

Its root is a file system in memory that can only be read, with the system's programs, the code, and the volumes of its
pod at their places. It runs as the pod's user, without capabilities and without a way to gain any.
"""

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.k8s.manifests import ROOT, Workload

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/proc", "/sys", "/dev")
#: What the image has in /etc that is needed here: where libraries are.
_FILES = ("/etc/ld.so.cache", "/etc/nsswitch.conf")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a cluster keeps outside of pods: Secrets and claims as folders, values of secrets, and its DNS.

    `values` are by Secret and key. `variables` are set in the containers beside those of the manifests.
    """

    secrets: Path
    claims: Path
    values: Mapping[tuple[str, str], str]
    variables: Mapping[str, str]
    resolver: str
    domain: str


def environment(workload: Workload, surroundings: Surroundings) -> dict[str, str]:
    """Return the variables of a container, secrets filled in."""
    values = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"}
    for name, entry in workload.environment.items():
        if "value" in entry:
            values[name] = entry["value"]
        else:
            reference = entry["valueFrom"]["secretKeyRef"]
            values[name] = surroundings.values[reference["name"], reference["key"]]
    return {**values, "PYTHONDONTWRITEBYTECODE": "1", **surroundings.variables}


def script(workload: Workload, surroundings: Surroundings, root: Path) -> str:
    """Return what a shell does, in the namespace of the pod and in one of mounts, to become the container."""
    lines = [f"mount -t tmpfs -o mode=0755 root {root}"]
    for path in map(Path, _SYSTEM):
        if path.is_symlink():
            lines.append(f"cp -P {path} {root}{path}")
        elif path.exists():
            lines += [f"mkdir {root}{path}", f"mount --rbind {path} {root}{path}"]
    lines += [f"mkdir {root}/etc", *(f"cp {file} {root}{file}" for file in _FILES if Path(file).exists())]
    names = f"nameserver {surroundings.resolver}\nsearch {surroundings.domain}\noptions ndots:5\n"
    lines.append(f"printf %s {shlex.quote(names)} > {root}/etc/resolv.conf")
    for mount in workload.container["volumeMounts"]:
        lines += _volume(workload, surroundings, mount, root)
    # Last, for a checkout may lie in /tmp.
    for path in sorted({Path(sys.base_prefix), Path(sys.prefix), ROOT}):
        if not path.is_relative_to("/usr"):
            lines += [f"mkdir -p {root}{path}", f"mount --bind {path} {root}{path}"]
    lines.append(f"mount -o remount,ro {root}")
    user = workload.pod["securityContext"]
    drop = (
        f"setpriv --reuid {user['runAsUser']} --regid {user['runAsGroup']} --clear-groups --no-new-privs "
        "--inh-caps=-all --bounding-set=-all"
    )
    arguments = shlex.join(workload.container["args"])
    lines.append(f"exec chroot {root} {drop} {sys.executable} -m services.cli {arguments}")
    return "\n".join(lines)


def _volume(workload: Workload, surroundings: Surroundings, mount: Mapping[str, str], root: Path) -> list[str]:
    volume, place = workload.volumes[mount["name"]], f"{root}{mount['mountPath']}"
    lines = [f"mkdir -p {place}"]
    if "secret" in volume:
        lines += [f"mount --bind {surroundings.secrets / volume['secret']['secretName']} {place}"]
    elif "persistentVolumeClaim" in volume:
        claim = surroundings.claims / volume["persistentVolumeClaim"]["claimName"]
        lines += [f"mount --bind {claim} {place}"]
    elif "emptyDir" in volume:
        user = workload.pod["securityContext"]["runAsUser"]
        lines += [f"mount -t tmpfs -o mode=0770,uid={user},gid={user} empty {place}"]
    if mount.get("readOnly") and "secret" in volume:
        lines.append(f"mount -o remount,bind,ro {place}")
    return lines


def own(path: Path, user: int) -> None:
    """Give a folder and what is in it to a container's user, as kubelet does with `fsGroup`."""
    for each in (path, *path.rglob("*")):
        os.chown(each, user, user)
