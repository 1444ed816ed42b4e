"""What is made of the calls of a load test."""

from collections import Counter

from benchmarks.load import figures
from benchmarks.load.cases import CASES, Report, Run, Threshold, Thresholds, missed, too_many_errors
from benchmarks.load.measuring import unreachable
from benchmarks.load.report import section
from benchmarks.load.target import Target

SEARCH = next(case for case in CASES if case.name == "search")
THRESHOLDS = Thresholds((1, 8), 0.0, {"search": Threshold(p99_ms=100, per_second=50)})


def found(latencies: list[float], failures: dict[str, int] | None = None, callers: int = 1) -> Run:
    return figures.run(SEARCH, callers, 2.0, latencies, Counter(failures or {}), 0.5)


def test_quantiles_and_rate_are_of_the_calls_that_succeeded() -> None:
    run = found([float(number) for number in range(1, 102)], {"UNAVAILABLE": 1})

    assert (run.p50_ms, run.p95_ms, run.p99_ms) == (51, 96, 100)
    assert (run.calls, run.failed, run.per_second) == (101, 1, 50.5)


def test_a_measurement_in_which_nothing_succeeded_has_no_quantiles() -> None:
    run = found([], {"UNAVAILABLE": 3})

    assert (run.p50_ms, run.error_share, run.per_second) == (None, 1.0, 0.0)
    assert found([]).error_share == 1.0


def test_one_failed_call_is_too_many() -> None:
    assert too_many_errors([found([1.0], {"UNAVAILABLE": 1})], THRESHOLDS)
    assert not too_many_errors([found([1.0])], THRESHOLDS)


def test_the_slowest_measurement_and_the_best_rate_are_compared() -> None:
    threshold = THRESHOLDS.cases["search"]

    assert missed([found([10.0] * 20), found([90.0] * 200)], threshold) == []
    assert missed([found([10.0] * 200), found([101.0] * 200)], threshold) == ["p99 at most 100 ms"]
    assert missed([found([10.0] * 20)], threshold) == ["at least 50 calls/s"]
    assert len(missed([found([])], threshold)) == 2


def test_of_a_deployment_only_what_has_an_address_is_measured() -> None:
    target = Target("a deployment", "https://data.example.org", "token", store="dns:///store:7070")

    assert {case.name for case in CASES if unreachable(case, target) is None} == {
        "search",
        "insert",
        "http-find-one",
        "http-find",
        "http-insert-many",
    }


def test_the_section_tells_failures_missed_thresholds_and_what_was_left_out() -> None:
    runs = [found([10.0] * 20), found([500.0], {"UNAVAILABLE": 2}, callers=8)]
    machine = {"cores": "2", "load average at the start": "2.50"}
    report = Report(
        "today", "a command", machine, {}, "a deployment", 2.0, THRESHOLDS, {"insert": "it is not there"}, runs
    )

    text = section(report, {"RPCs": "load/rpc.svg"})

    assert "| FindDocuments by vector | 1 | 10.0 | 10.0 | 10.0 | 10.0 | 0 of 20 |" in text
    assert "|  | 8 | 0.500 | 500 | 500 | 500 | 2 of 3 |" in text
    assert "busy with other work" in text
    assert "- search with 8 callers: 2 times UNAVAILABLE" in text
    assert "Not measured: insert, because it is not there." in text
    assert "**not met**" in text
