"""What the figures were measured on and with."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from benchmarks.embedder.contenders import PEERS, ROOT

_PEERS = ("litellm", "uvicorn", "openai", "uvloop")
_OWN = ("httpx", "aiohttp", "grpcio", "numpy", "msgspec")


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


def versions() -> dict[str, str]:
    """Return the versions of Orrery, the interpreter and every package that is measured or measures."""
    found = {"orrery": _commit(), "Python": platform.python_version()}
    found |= {name: metadata.version(name) for name in _OWN}
    return found | _peers()


def _peers() -> dict[str, str]:
    python = PEERS / "bin" / "python"
    if not python.exists():
        return {}
    code = "import json, sys; from importlib.metadata import version; " + (
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    found: dict[str, str] = json.loads(_output([str(python), "-c", code, *_PEERS]))
    return found


def _commit() -> str:
    commit = _output(["git", "rev-parse", "--short", "HEAD"])
    changed = _output(["git", "status", "--porcelain", "--", "services", "protos", "benchmarks/embedder"])
    return f"{commit or 'no commit'}{' with changes' if changed else ''}"


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
