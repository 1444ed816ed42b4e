"""What is measured, what it is compared with, and what a run found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from benchmarks.machine import ROOT

#: Configurations of ghz, one a case, and the file of thresholds.
CONFIGURATIONS = ROOT / "tests" / "load" / "ghz"
THRESHOLDS = ROOT / "tests" / "load" / "thresholds.yaml"
#: Everything that is made for a run, and ghz itself.
BUILD = ROOT / "build" / "load"
GHZ = BUILD / "bin" / "ghz"

#: Documents of an insertion, and of the most that a search finds.
BATCH, TOP = 10, 10

#: Who answers a case: one of the two RPC services, or the gateway.
Service = Literal["embedder", "store", "gateway"]


class Case(msgspec.Struct, frozen=True):
    """One kind of call, made by more and more callers. Its title has to fit the legend of a picture."""

    name: str
    title: str
    service: Service
    writes: bool = False
    """Each measurement gets a collection of its own, whose documents are counted afterwards."""
    own_servers: bool = False
    """Only for servers that the run started: it needs what no deployment has."""

    @property
    def configuration(self) -> Path:
        """Return the file of ghz's configuration; only for RPC services."""
        return CONFIGURATIONS / f"{self.name}.json"


CASES = (
    Case("embed-offline", "Embed", "embedder", own_servers=True),
    Case("embed-provider", "Embed, provider asked", "embedder", own_servers=True),
    Case("search", "FindDocuments by vector", "store"),
    Case("insert", f"InsertDocuments, {BATCH}", "store", writes=True),
    Case("http-find-one", "findOne by _id", "gateway"),
    Case("http-find", "find by vector", "gateway"),
    Case("http-insert-many", f"insertMany, {BATCH}", "gateway", writes=True),
)


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a case is compared with."""

    p99_ms: float
    """The largest 99th percentile, whatever the number of callers."""
    per_second: float
    """The least calls a second of the number of callers that gives most."""


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of thresholds."""

    callers: tuple[int, ...]
    error_share: float
    cases: dict[str, Threshold]


class Run(msgspec.Struct):
    """What one case gave with one number of callers."""

    case: str
    callers: int
    seconds: float
    """From the first call to the end of the last one."""
    calls: int
    """Calls that succeeded."""
    failed: int
    failures: dict[str, int]
    """Why calls failed, with how often, the commonest first."""
    p50_ms: float | None
    """Latency of the calls that succeeded; None where none did. So for the next two."""
    p95_ms: float | None
    p99_ms: float | None
    caller_cpu_seconds: float
    """CPU time of the process that called."""
    server_cpu_seconds: float | None
    """CPU time of all servers; None for those that the run did not start."""

    @property
    def per_second(self) -> float:
        """Return the calls a second that succeeded."""
        return self.calls / self.seconds

    @property
    def error_share(self) -> float:
        """Return the share of calls that failed; of no call at all, everything failed."""
        made = self.calls + self.failed
        return self.failed / made if made else 1.0


class Report(msgspec.Struct):
    """Everything that the load tests found: what the section of RESULTS.md is made of."""

    date: str
    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    target: str
    """What was called, in words."""
    seconds: float
    thresholds: Thresholds
    skipped: dict[str, str]
    """Cases that were not run, and why."""
    runs: list[Run]


def load_thresholds(path: Path = THRESHOLDS) -> Thresholds:
    """Return the file of thresholds. Raises `msgspec.ValidationError` for one that is not valid."""
    return msgspec.yaml.decode(path.read_bytes(), type=Thresholds)


def runs_of(report: Report, case: Case) -> list[Run]:
    """Return the measurements of a case, by callers."""
    return sorted((run for run in report.runs if run.case == case.name), key=lambda run: run.callers)


def too_many_errors(runs: Sequence[Run], thresholds: Thresholds) -> bool:
    """Tell whether a larger share of calls failed than may."""
    return any(run.error_share > thresholds.error_share for run in runs)


def missed(runs: Sequence[Run], threshold: Threshold) -> list[str]:
    """Return what of a threshold the measurements of a case did not reach, in words."""
    found: list[str] = []
    slowest = max((run.p99_ms for run in runs if run.p99_ms is not None), default=None)
    if slowest is None or slowest > threshold.p99_ms:
        found.append(f"p99 at most {threshold.p99_ms:g} ms")
    if max((run.per_second for run in runs), default=0.0) < threshold.per_second:
        found.append(f"at least {threshold.per_second:g} calls/s")
    return found
