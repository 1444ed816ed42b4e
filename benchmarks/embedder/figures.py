"""The measurements of a contender, and the figures that are made of more than one of their fields."""

from benchmarks.embedder.cases import Report, Run


def runs_of(report: Report, case: str, contender: str) -> list[Run]:
    """Return the measurements of a contender under a case, in the order of the rounds."""
    return [run for run in report.runs if (run.case, run.contender) == (case, contender)]


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
