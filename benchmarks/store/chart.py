"""The pictures of the results: throughput against recall, and what a search costs as the collection grows."""

from benchmarks import chart
from benchmarks.chart import Line, Panel
from benchmarks.spread import Spread, spread
from benchmarks.store.cases import Report
from benchmarks.store.contenders import CONTENDERS
from benchmarks.store.dataset import Kind
from benchmarks.store.figures import p50, per_second, runs_of, sizes

#: Recalls below are of no use to anybody, and would make the others hard to tell apart.
_LEAST_RECALL = 0.8


def draw_recall(report: Report, kind: Kind) -> str:
    """Return the picture of what each reaches with every effort."""
    lines = []
    for contender in CONTENDERS:
        runs = [run for run in runs_of(report, kind, None, "effort", contender.name) if run.recall is not None]
        points = [
            (run.recall, Spread.of([run.per_second]))
            for run in sorted(runs, key=lambda run: run.recall or 0)
            if run.recall is not None and run.recall >= _LEAST_RECALL
        ]
        if points:
            lines.append(Line(contender.title, contender.colour, points))
    return chart.draw([Panel("searches a second, 8 clients (up and right is better)", "recall@10", lines)])


def draw_growth(report: Report, kind: Kind) -> str:
    """Return the picture of one client's latency and of 32 clients' throughput, by the size of the collection."""
    found = sizes(report, kind)

    def line(name: str, title: str, colour: str, case: str) -> Line:
        figure = p50 if case == "search-1" else per_second
        points = [
            (float(column), value)
            for column, size in enumerate(found)
            if (value := spread(runs_of(report, kind, size, case, name), figure)) is not None
        ]
        return Line(title, colour, points)

    def panel(title: str, case: str) -> Panel:
        lines = [line(contender.name, contender.title, contender.colour, case) for contender in CONTENDERS]
        return Panel(title, "documents", [one for one in lines if one.points], [f"{size:,}" for size in found])

    return chart.draw(
        [
            panel("p50 of one client, ms (less is better)", "search-1"),
            panel("searches a second, 32 clients (more is better)", "search-32"),
        ]
    )
