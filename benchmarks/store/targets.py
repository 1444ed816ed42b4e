"""How the figures stand to what the design asks of the store."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.section import cell
from benchmarks.spread import Spread, ratio, spread
from benchmarks.store.cases import RECALL, Report, Run
from benchmarks.store.dataset import Kind
from benchmarks.store.figures import indexed_per_second, kinds, least_mib, p50, per_second, recall, runs_of, sizes

_OWN, _PGVECTOR, _CHROMA = "orrery-http", "pgvector", "chroma"
_FILTER_RECALL = 0.99
_MEMORY_RATIO, _RESTART_SECONDS = 1.3, 3.0


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is asked for, what was found, and whether that is enough."""

    what: str
    target: str
    measured: str
    met: bool

    def cells(self) -> list[str]:
        """Return the row of the table."""
        return [self.what, self.target, self.measured, "met" if self.met else "**not met**"]


def rows(report: Report) -> list[Row]:
    """Return a row for each target that there are figures for; the larger, synthetic data before the real one."""
    found: list[Row] = []
    for kind in reversed(kinds(report)):
        for size in sizes(report, kind)[-1:]:
            found += _searches(report, kind, size)
        found += _loads(report, kind) + _costs(report, kind)
    return found


def _row(what: str, target: str, found: Spread | None, met: Callable[[float], bool], unit: str = "x") -> list[Row]:
    return [] if found is None else [Row(what, target, cell(found, unit=unit), met(found.median))]


def _at_least(least: float) -> Callable[[float], bool]:
    return lambda value: value >= least


def _searches(report: Report, kind: Kind, size: int) -> list[Row]:
    def runs(case: str, contender: str) -> list[Run]:
        return runs_of(report, kind, size, case, contender)

    where = f"{size:,} {kind} documents"
    one, many = runs("search-1", _OWN), runs("search-32", _OWN)
    latency = ratio(one, runs("search-1", _PGVECTOR), p50)
    found = _row(f"{where}: p50 of a search to pgvector's", "below 1x", latency, lambda value: value < 1)
    for peer, title, least in ((_PGVECTOR, "pgvector", 1.5), (_CHROMA, "Chroma", 6.0)):
        rate = ratio(many, runs("search-32", peer), per_second)
        found += _row(f"{where}: searches/s of 32 clients to {title}'s", f"at least {least:g}x", rate, _at_least(least))
    what = f"{where}: recall@10"
    found += _row(what, f"at least {RECALL}", spread(one + many, recall), _at_least(RECALL), "")
    for category, share, least in (("rare", 1, 1.0), ("some", 10, 2.0)):
        own = runs(f"filter-{category}", _OWN)
        rate = ratio(own, runs(f"filter-{category}", _PGVECTOR), per_second)
        what = f"{where}: searches/s in {share} % of them to pgvector's"
        found += _row(what, f"at least {least:g}x", rate, _at_least(least))
        what = f"{where}: recall@10 in {share} % of them"
        found += _row(what, f"at least {_FILTER_RECALL}", spread(own, recall), _at_least(_FILTER_RECALL), "")
    return found


def _loads(report: Report, kind: Kind) -> list[Row]:
    own, peer = (runs_of(report, kind, None, "load-all", name) for name in (_OWN, _PGVECTOR))
    if len(own) != 1 or len(peer) != 1 or own[0].indexed_per_second is None or not peer[0].indexed_per_second:
        return []  # a collection that grew in steps: a peer's index was built more than once
    where = f"load of {own[0].documents:,} {kind} documents"
    whole = peer[0].indexed_per_second
    acknowledged = Spread.of([own[0].per_second / whole])
    indexed = ratio(own, peer, indexed_per_second)
    return [
        *_row(f"{where}, acknowledged, to pgvector's, index included", "at least 2x", acknowledged, _at_least(2)),
        *_row(f"{where}, index included, to pgvector's", "at least 1x", indexed, _at_least(1)),
    ]


def _costs(report: Report, kind: Kind) -> list[Row]:
    found: list[Row] = []
    for print_ in report.footprints:
        if (print_.server, print_.kind) == ("orrery", kind) and print_.store_mib and print_.store_idle_mib:
            ratio_ = (print_.store_mib - print_.store_idle_mib) / least_mib(print_.documents)
            what = f"{print_.documents:,} {kind} documents: the store's memory to that of vectors and graph"
            target = f"at most {_MEMORY_RATIO}x"
            found += _row(what, target, Spread.of([ratio_]), lambda value: value <= _MEMORY_RATIO)
    restarts = [one for one in report.restarts if (one.server, one.kind) == ("orrery", kind)]
    if restarts:
        seconds = [one.seconds for one in restarts if one.seconds is not None]
        what = f"restart with {restarts[0].documents:,} {kind} documents, until it answers as before"
        if len(seconds) == len(restarts):
            target = f"below {_RESTART_SECONDS:g} s"
            found += _row(what, target, Spread.of(seconds), lambda value: value < _RESTART_SECONDS, " s")
        else:
            found.append(Row(what, f"below {_RESTART_SECONDS:g} s", "never", False))
    return found
