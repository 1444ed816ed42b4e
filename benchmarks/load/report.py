"""The section of RESULTS.md: what was called, a table of every case by callers, and what it is compared with."""

from collections.abc import Mapping

from benchmarks.load.bodies import DIMENSION, documents
from benchmarks.load.cases import BATCH, CASES, Case, Report, Run, missed, runs_of
from benchmarks.section import NONE, number, table

_HEAD = ("", "callers", "calls/s", "p50 ms", "p95 ms", "p99 ms", "failed calls", "of a core: servers, caller")


def _conditions(report: Report) -> str:
    machine = "; ".join(f"{name} {value}" for name, value in report.machine.items())
    versions = ", ".join(f"{name} {value}" for name, value in report.versions.items())
    return f"""\
Measured {report.date} with `{report.command}` (`make load` installs what it needs).

- Machine: {machine}.
- Versions: {versions}.
- Called: {report.target}.
- Each line is one measurement of {report.seconds:g} seconds, after a warm-up of its case. Callers have one call at a
  time each, and share the machine with servers that the run started; calls under way at the end are waited for.
- RPCs are called by ghz with the configurations of `tests/load/ghz`, over one connection; HTTP by one asyncio program,
  which is near its own limit where its CPU is near 100 %.
- Data: {len(documents())} documents of the solar system with {DIMENSION} numbers each. Vectors are hashes of texts
  (the offline provider), so searches find documents of any kind; with so few the time is a call's, not a search's.
  Inserted are {BATCH} documents a call, into a collection of each measurement's own, whose documents are counted then.
- `Embed` is asked for one text that is new each time. Without a provider to ask, vectors are computed in process; the
  one that is asked by HTTP is a local process that answers after 20 ms.
"""


def _busy(report: Report) -> str:
    """Return a warning where the machine had more to do than it has cores before the run began; else nothing."""
    load, cores = (float(report.machine.get(name, 0)) for name in ("load average at the start", "cores"))
    if load <= cores:
        return ""
    return (
        "- **The machine was busy with other work**: the figures are worse than it can do, and say nothing of what "
        "changed since an earlier run.\n"
    )


def _rows(case: Case, runs: list[Run]) -> list[list[str]]:
    return [
        [
            case.title if place == 0 else "",
            str(run.callers),
            number(run.per_second),
            *(NONE if value is None else number(value) for value in (run.p50_ms, run.p95_ms, run.p99_ms)),
            f"{run.failed:,} of {run.failed + run.calls:,}",
            f"{_share(run, run.server_cpu_seconds)}, {_share(run, run.caller_cpu_seconds)}",
        ]
        for place, run in enumerate(runs)
    ]


def _share(run: Run, cpu_seconds: float | None) -> str:
    return NONE if cpu_seconds is None else f"{100 * cpu_seconds / run.seconds:.0f} %"


def _thresholds(report: Report) -> str:
    rows = []
    for case in CASES:
        runs, threshold = runs_of(report, case), report.thresholds.cases.get(case.name)
        if not runs or threshold is None:
            continue
        slowest = max((run.p99_ms for run in runs if run.p99_ms is not None), default=None)
        rows.append(
            [
                case.title,
                f"{threshold.p99_ms:g} ms",
                NONE if slowest is None else f"{number(slowest)} ms",
                f"{threshold.per_second:g}",
                number(max(run.per_second for run in runs)),
                "**not met**" if missed(runs, threshold) else "met",
            ]
        )
    head = ("", "p99 at most", "highest p99", "calls/s at least", "most calls/s", "")
    return f"### Thresholds of the load tests\n\n{table(head, rows)}" if rows else ""


def section(report: Report, pictures: Mapping[str, str]) -> str:
    """Return the section; `pictures` are paths from the file's folder, by what they show."""
    rows = [row for case in CASES for row in _rows(case, runs_of(report, case))]
    skipped = [f"- Not measured: {name}, because {why}." for name, why in report.skipped.items()]
    failures = [
        f"- {run.case} with {run.callers} callers: {count:,} times {why}"
        for run in report.runs
        for why, count in run.failures.items()
    ]
    parts = [
        "## Load\n",
        _conditions(report) + _busy(report) + "\n".join([*skipped, ""] if skipped else []),
        *(f"![{title}]({path})\n" for title, path in pictures.items()),
        table(_HEAD, rows),
        "\n".join(["What failed:\n", *failures, ""]) if failures else "",
        _thresholds(report),
    ]
    return "\n".join(part for part in parts if part)
