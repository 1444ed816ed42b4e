"""Medians, ratios, targets and the file they are written to."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.chart import Line, Panel, draw
from benchmarks.section import cell, number, write_section
from benchmarks.spread import Spread, ratio, spread
from benchmarks.store import targets
from benchmarks.store.cases import Footprint, Report, Restart, Run
from benchmarks.store.figures import least_mib
from benchmarks.store.report import section


def run(contender: str, case: str, number: int = 1, **more: Any) -> Run:
    figures: dict[str, Any] = {
        "kind": "synthetic",
        "documents": 100_000,
        "effort": None,
        "per_second": 100.0,
        "p50_ms": 1.0,
        "p95_ms": 2.0,
        "recall": 1.0,
        "wrong": 0,
        "calls": 10,
        "failed": 0,
        "failures": {},
    }
    return Run(contender=contender, case=case, round=number, **{**figures, **more})


def report(*runs: Run, **more: Any) -> Report:
    return Report(
        date="today",
        command="a command",
        machine={"cores": "2"},
        versions={},
        settings={"pgvector": "as it is"},
        seconds=1,
        rounds=2,
        data={"synthetic": "100,000 documents"},
        runs=list(runs),
        **more,
    )


def test_a_spread_is_median_and_extremes() -> None:
    assert Spread.of([5, 1, 3]) == Spread(3, 1, 5)
    assert spread([run("pgvector", "search-1", p50_ms=None)], lambda one: one.p50_ms) is None


def test_ratios_are_of_the_same_round() -> None:
    own = [run("orrery-http", "search-1", 1, per_second=10), run("orrery-http", "search-1", 2, per_second=40)]
    peer = [run("pgvector", "search-1", 2, per_second=20), run("pgvector", "search-1", 1, per_second=10)]
    assert ratio(own, peer, lambda one: one.per_second) == Spread(1.5, 1, 2)
    assert ratio(own, [], lambda one: one.per_second) is None


@pytest.mark.parametrize(("value", "shown"), [(1234.5, "1,234"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123")])
def test_numbers_have_three_digits_that_count(value: float, shown: str) -> None:
    assert number(value) == shown


def test_cells_show_extremes_only_where_there_are_any() -> None:
    assert cell(Spread(2, 1, 3), unit="x") == "2.00x (1.00 to 3.00)"
    assert cell(Spread(2, 2, 2), unit="x") == "2.00x"
    assert cell(None) == "-"


def test_a_section_is_written_between_its_markers_and_the_rest_is_left(tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    file.write_text("# Title\n\nbefore\n\n<!-- one: begin -->\nold\n<!-- one: end -->\n\nafter\n")
    write_section(file, "one", "new")
    write_section(file, "two", "second")
    text = file.read_text()
    assert "old" not in text
    assert text.index("before") < text.index("new") < text.index("after") < text.index("second")
    write_section(file, "two", "second")
    assert file.read_text() == text


def test_targets_say_what_is_met_and_what_is_not() -> None:
    rows = targets.rows(
        report(
            run("orrery-http", "search-1", p50_ms=0.5, recall=0.98),
            run("pgvector", "search-1", p50_ms=1.0),
            run("orrery-http", "search-32", per_second=140, recall=0.98),
            run("pgvector", "search-32", per_second=100),
            run("chroma", "search-32", per_second=20),
            run("orrery-http", "filter-rare", per_second=90),
            run("pgvector", "filter-rare", per_second=100),
        )
    )
    found = {row.what.partition(": ")[2]: (row.measured, row.met) for row in rows}
    assert found["p50 of a search to pgvector's"] == ("0.500x", True)
    assert found["searches/s of 32 clients to pgvector's"] == ("1.40x", False)
    assert found["searches/s of 32 clients to Chroma's"] == ("7.00x", True)
    assert found["recall@10"] == ("0.980", True)
    assert found["searches/s in 1 % of them to pgvector's"] == ("0.900x", False)
    assert "searches/s in 10 % of them to pgvector's" not in found


def test_loads_are_held_against_a_load_with_its_index() -> None:
    own = run("orrery-http", "load-all", per_second=4_000, indexed_per_second=1_500.0)
    peer = run("pgvector", "load-all", per_second=10_000, indexed_per_second=2_000.0)
    assert [row.measured for row in targets.rows(report(own, peer))] == ["2.00x", "0.750x"]
    grown = report(own, peer, run("pgvector", "load-all", per_second=1, indexed_per_second=1.0))
    assert targets.rows(grown) == []


def test_memory_and_restarts_have_targets_of_their_own() -> None:
    least = least_mib(100_000)
    footprint = Footprint("orrery", "synthetic", 100_000, 200, 900, 50, 50 + 1.2 * least, 300)
    good = Restart("orrery", "synthetic", 100_000, 0.5, 2.0)
    bad = msgspec.structs.replace(good, seconds=None)
    rows = targets.rows(report(footprints=[footprint], restarts=[good]))
    assert [(row.measured, row.met) for row in rows] == [("1.20x", True), ("2.00 s", True)]
    assert not targets.rows(report(restarts=[good, bad]))[0].met


def test_a_report_shows_every_measure_and_every_failure() -> None:
    runs = [
        run(contender, case, documents=size, **({"failed": 3} if contender == "chroma" else {}))
        for contender in ("orrery-http", "pgvector", "chroma")
        for case in ("search-1", "search-32", "filter-some")
        for size in (1_000, 100_000)
    ]
    runs.append(run("orrery-http", "load-4", documents=4_000, indexed_per_second=90.0))
    text = section(report(*runs), {"A picture": "store/picture.svg"})
    assert "| Orrery, HTTP | 100 | 1.00x | 1.00x |" in text
    assert "3 of 13" in text
    assert "As the collection grows" in text
    assert "![A picture](store/picture.svg)" in text
    assert "Against the targets of the store" in text


def test_pictures_have_columns_or_an_axis_of_numbers() -> None:
    points = [(0.9, Spread(100, 90, 110)), (0.95, Spread(10, 10, 10))]
    axis = draw([Panel("by recall", "recall", [Line("one & two", "#000000", points)])])
    assert "one &amp; two" in axis
    assert axis.count('r="4.5"') == 2
    columns = draw([Panel("by size", "size", [Line("one", "#000000", [(0, Spread(1, 1, 1))])], ["1,000"])] * 2)
    assert columns.count("1,000") == 2
    assert "not measured" in draw([Panel("nothing", "", [])])
