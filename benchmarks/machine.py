"""What figures were measured on and with."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def machine() -> dict[str, str]:
    """Return the machine: processor, cores this process may use, memory, system, and its load before the run."""
    information = dict(
        line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": next(iter(information.values()), platform.machine()).strip(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
    }


def versions(own: Sequence[str], peers: Sequence[str], environment: Path, measured: str) -> dict[str, str]:
    """Return the versions of Orrery, the interpreter, packages of its environment and of the peers' environment.

    `measured` is the folder of the benchmark, whose uncommitted changes are told as Orrery's own are.
    """
    found = {"orrery": _commit(measured), "Python": platform.python_version()}
    found |= {name: metadata.version(name) for name in own}
    return found | _peers(environment, peers)


def _peers(environment: Path, names: Sequence[str]) -> dict[str, str]:
    python = environment / "bin" / "python"
    if not python.exists():
        return {}
    code = "import json, sys; from importlib.metadata import version; " + (
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    found: dict[str, str] = json.loads(_output([str(python), "-c", code, *names]) or "{}")
    return found


def _commit(measured: str) -> str:
    commit = _output(["git", "rev-parse", "--short", "HEAD"])
    changed = _output(["git", "status", "--porcelain", "--", "services", "protos", measured])
    return f"{commit or 'no commit'}{' with changes' if changed else ''}"


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
