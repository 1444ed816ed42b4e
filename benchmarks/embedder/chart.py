"""The picture of the results: texts a second and the slowest hundredth, by callers."""

from collections.abc import Callable

from benchmarks import chart
from benchmarks.chart import Line, Panel
from benchmarks.embedder.cases import CASES, Report, Run
from benchmarks.embedder.contenders import TITLES
from benchmarks.embedder.figures import runs_of
from benchmarks.spread import spread

_COLOURS = {"httpx": chart.GREY, "aiohttp": chart.BLUE, "litellm": chart.RED, "orrery": chart.GREEN}


def draw(report: Report) -> str:
    """Return the picture. Both scales are logarithmic; whiskers go from the lowest to the highest round."""
    cases = [
        case for case in CASES if case.name.startswith("callers-") and any(r.case == case.name for r in report.runs)
    ]
    names = [name for name in _COLOURS if any(run.contender == name for run in report.runs)]
    columns = [str(case.callers) for case in cases]

    def line(name: str, figure: Callable[[Run], float | None]) -> Line:
        points = [
            (column, found)
            for column, case in enumerate(cases)
            if (found := spread(runs_of(report, case.name, name), figure)) is not None
        ]
        return Line(TITLES[name], _COLOURS[name], points)

    def panel(title: str, figure: Callable[[Run], float | None]) -> Panel:
        return Panel(title, "callers", [line(name, figure) for name in names], columns)

    return chart.draw(
        [
            panel("texts a second (more is better)", lambda run: run.texts_per_second),
            panel("99th percentile, ms (less is better)", lambda run: run.p99_ms),
        ]
    )
