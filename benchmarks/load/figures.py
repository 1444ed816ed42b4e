"""Figures of one measurement, made from its calls in the same way whoever made them."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from benchmarks.load.cases import Case, Run


def run(
    case: Case,
    callers: int,
    seconds: float,
    latencies_ms: Sequence[float],
    failures: Counter[str],
    caller_cpu_seconds: float,
) -> Run:
    """Return what a measurement gave; `latencies_ms` are of the calls that succeeded."""
    quantiles = np.percentile(latencies_ms, (50, 95, 99)).tolist() if latencies_ms else (None, None, None)
    return Run(
        case=case.name,
        callers=callers,
        seconds=seconds,
        calls=len(latencies_ms),
        failed=failures.total(),
        failures=dict(failures.most_common(3)),
        p50_ms=quantiles[0],
        p95_ms=quantiles[1],
        p99_ms=quantiles[2],
        caller_cpu_seconds=caller_cpu_seconds,
        server_cpu_seconds=None,
    )
