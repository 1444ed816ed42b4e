"""CPU time and memory of a process and everything it started, from /proc (Linux)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process tree has used."""

    cpu_seconds: float
    """User and system time so far, of ended children too; in steps of a clock tick, mostly 10 ms."""
    resident_mib: float
    """Memory that is resident now."""
    peak_mib: float
    """The most that was resident, summed over the processes that live."""


def proportional_mib(pid: int) -> float:
    """Return the memory of a process and its descendants in MiB, each page that some share counted once among them."""
    total = 0.0
    for process in _tree(pid):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            if process == pid:
                raise
            continue
        total += sum(_mib(line.partition(":")[2]) for line in lines if line.startswith("Pss:"))
    return total


def usage(pid: int) -> Usage:
    """Return what a process and its descendants have used. Raises `OSError` when it is gone."""
    cpu, resident, peak = 0.0, 0.0, 0.0
    for process in _tree(pid):
        folder = Path("/proc") / str(process)
        try:
            # The name, in parentheses, may hold spaces. Then come state, parent and so on; see proc(5).
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            lines = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        except OSError:
            if process == pid:
                raise
            continue
        cpu += sum(map(int, fields[11:15])) / _TICKS_PER_SECOND
        resident += _mib(lines.get("VmRSS"))
        peak += _mib(lines.get("VmHWM"))
    return Usage(cpu, resident, peak)


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _tree(int(child))


def _mib(line: str | None) -> float:
    return 0.0 if line is None else int(line.split()[0]) / 1024
