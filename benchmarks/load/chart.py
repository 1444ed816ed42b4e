"""The pictures of the results: latency and throughput by callers."""

from collections.abc import Sequence

from benchmarks import chart
from benchmarks.chart import Line, Panel
from benchmarks.load.cases import Case, Report, runs_of
from benchmarks.spread import Spread

_COLOURS = (chart.BLUE, chart.GREEN, chart.RED, chart.ORANGE)


def draw(report: Report, cases: Sequence[Case]) -> str:
    """Return the picture of at most four cases: points are medians, with whiskers up to the 99th percentile."""
    callers = sorted({run.callers for run in report.runs})
    latency, throughput = list[Line](), list[Line]()
    for case, colour in zip(cases, _COLOURS, strict=False):
        runs = [run for run in runs_of(report, case) if run.p50_ms is not None and run.p99_ms is not None]
        places = [float(callers.index(run.callers)) for run in runs]
        spreads = [Spread(run.p50_ms or 0, run.p50_ms or 0, run.p99_ms or 0) for run in runs]
        rates = [Spread.of([run.per_second]) for run in runs]
        if runs:
            latency.append(Line(case.title, colour, list(zip(places, spreads, strict=True))))
            throughput.append(Line(case.title, colour, list(zip(places, rates, strict=True))))
    columns = [str(number) for number in callers]
    return chart.draw(
        [
            Panel("p50 up to p99, ms (less is better)", "callers", latency, columns),
            Panel("calls a second (more is better)", "callers", throughput, columns),
        ]
    )
