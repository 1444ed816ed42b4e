"""Calls of an RPC by ghz: a configuration of tests/load/ghz, completed with where and by how many callers."""

import json
import resource
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.load import figures
from benchmarks.load.bodies import collection_reference, insert_requests, search_requests
from benchmarks.load.cases import BUILD, GHZ, Case, Run
from benchmarks.load.target import CALL_SECONDS, Target
from benchmarks.machine import ROOT
from benchmarks.processes import StartError

#: How much longer than its calls ghz may take: to connect, to wait for the last call and to write what it found.
_SPARE_SECONDS = 30.0
_OTHER_BODIES = {"search": search_requests, "insert": insert_requests}


class _Detail(msgspec.Struct):
    latency: int
    error: str


class _Found(msgspec.Struct):
    """What of ghz's report is used; times are nanoseconds."""

    count: int
    total: int
    details: list[_Detail] | None = None


def configuration(case: Case, target: Target, collection: str) -> dict[str, Any]:
    """Return a case's configuration for a target, and write the file of bodies that it names.

    `collection` is the name of the collection that is searched or written.
    """
    settings: dict[str, Any] = json.loads(case.configuration.read_text())
    if case.name in _OTHER_BODIES:
        reference = collection_reference(target.database, target.keyspace, collection)
        file = ROOT / settings["data-file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(_OTHER_BODIES[case.name](reference)))
    else:
        settings["data"]["database"] = target.database
        if target.embedding_service is not None:
            settings["data"]["service"] = target.embedding_service
    if target.certificates is not None:
        del settings["insecure"]
        settings["cacert"] = str(target.certificates.authority)
        settings["cert"] = str(target.certificates.certificate)
        settings["key"] = str(target.certificates.key)
    settings["host"] = target.address(case.service)
    settings["timeout"] = f"{CALL_SECONDS:g}s"
    return settings


def call(settings: dict[str, Any], case: Case, callers: int, seconds: float) -> Run:
    """Call for some time by ghz; the CPU time of the servers is left to whoever knows them. Raises `StartError`."""
    file = BUILD / "runs" / f"{case.name}-{callers}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    output = file.with_suffix(".result.json")
    output.unlink(missing_ok=True)
    told = {"concurrency": callers, "duration": f"{seconds:g}s", "format": "json", "output": str(output)}
    file.write_text(json.dumps({**settings, **told}, indent=1))
    before = _children_cpu()
    _run([str(GHZ), "--config", str(file)], seconds + CALL_SECONDS + _SPARE_SECONDS)
    return _read(output, case, callers, _children_cpu() - before)


def version() -> str:
    """Return the version of ghz that `make load` installed. Raises `StartError` where there is none."""
    _run([str(GHZ), "--version"], _SPARE_SECONDS)
    # What `go install` builds says of itself that it is "dev"; the stamp of the Makefile knows better.
    return next((path.name.removeprefix("ghz-") for path in sorted(BUILD.glob("ghz-v*"))), "of an unknown version")


def _run(command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    except FileNotFoundError:
        raise StartError(f"{command[0]} is not there: `make load` installs it, where Go is") from None
    except subprocess.TimeoutExpired:
        raise StartError(f"{' '.join(command)} did not end within {seconds:g} s") from None
    if done.returncode:
        raise StartError(f"{' '.join(command)} failed: {done.stdout[-500:]}{done.stderr[-1500:]}")
    return done


def _read(output: Path, case: Case, callers: int, cpu_seconds: float) -> Run:
    found = msgspec.json.decode(output.read_bytes(), type=_Found)
    details = found.details or []
    if len(details) != found.count:
        raise StartError(f"ghz made {found.count} calls and tells of {len(details)}: measure for a shorter time")
    return figures.run(
        case,
        callers,
        found.total / 1e9,
        [one.latency / 1e6 for one in details if not one.error],
        Counter(one.error for one in details if one.error),
        cpu_seconds,
    )


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
