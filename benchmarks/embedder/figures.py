"""Figures of several rounds: medians with their spread, and ratios of runs of the same round."""

from collections.abc import Callable, Sequence

from benchmarks.embedder.cases import Report, Run
from benchmarks.spread import Spread

Figure = Callable[[Run], float | None]


def runs_of(report: Report, case: str, contender: str) -> list[Run]:
    """Return the measurements of a contender under a case, in the order of the rounds."""
    return [run for run in report.runs if (run.case, run.contender) == (case, contender)]


def spread(runs: Sequence[Run], figure: Figure) -> Spread | None:
    """Return the spread of a figure; None where no run has it."""
    values = [value for run in runs if (value := figure(run)) is not None]
    return Spread.of(values) if values else None


def ratio(runs: Sequence[Run], others: Sequence[Run], figure: Figure) -> Spread | None:
    """Return the spread of a figure relative to another contender's of the same round."""
    by_round = {run.round: figure(run) for run in others}
    values = [
        value / other for run in runs if (value := figure(run)) is not None and (other := by_round.get(run.round))
    ]
    return Spread.of(values) if values else None


def upstream_per_1000(run: Run) -> float | None:
    """Return the requests that the provider got for a thousand texts that came back."""
    return run.upstream_requests / run.texts * 1000 if run.texts else None


def texts_upstream_per_1000(run: Run) -> float | None:
    """Return the texts that the provider embedded for a thousand texts that came back."""
    return run.upstream_texts / run.texts * 1000 if run.texts else None


def contender_cpu(run: Run) -> float | None:
    """Return milliseconds of CPU time a text of the contender's processes; None where it has none."""
    return run.contender_cpu_seconds / run.texts * 1000 if run.texts and run.contender_mib else None


def caller_cpu(run: Run) -> float | None:
    """Return milliseconds of CPU time a text of the calling process."""
    return run.caller_cpu_seconds / run.texts * 1000 if run.texts else None
