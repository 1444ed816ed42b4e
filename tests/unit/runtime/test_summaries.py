"""Quantiles, maxima and totals, over time and over many values."""

import math
import random

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.runtime.summaries import Distribution, Summary


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "values",
    [
        [random.Random(1).expovariate(100) for _ in range(20_000)],
        [random.Random(2).lognormvariate(0, 3) for _ in range(20_000)],
        [float(n) for n in range(1, 1001)],
        [0.25] * 7,
        [5_000_000.0, 1.0],
    ],
    ids=["durations", "over many magnitudes", "evenly", "all alike", "two"],
)
def test_quantiles_are_within_two_percent(values: list[float]) -> None:
    distribution = Distribution()
    for value in values:
        distribution.observe(value)
    shares = (0.01, 0.5, 0.9, 0.98, 0.99, 1.0)
    for share, found in zip(shares, distribution.quantiles(shares), strict=True):
        true = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
        assert found == pytest.approx(true, rel=0.02)
    assert distribution.maximum == max(values)
    assert distribution.count == len(values)
    assert distribution.total == pytest.approx(sum(values))


def test_zeros_count_as_zeros() -> None:
    distribution = Distribution()
    for value in (0.0, 0.0, 8.0):
        distribution.observe(value)
    assert distribution.quantiles([0.5, 0.99]) == [0.0, pytest.approx(8.0, rel=0.02)]


def test_nothing_observed_has_no_quantiles() -> None:
    distribution = Distribution()
    assert all(math.isnan(value) for value in distribution.quantiles([0.5, 0.99]))
    assert distribution.maximum == 0.0


def test_old_values_leave_quantiles_and_maximum_but_not_the_totals() -> None:
    clock = Clock()
    distribution = Distribution(clock)
    distribution.observe(100.0)
    clock.now += 61
    distribution.observe(1.0)
    assert distribution.maximum == 100.0, "it is a minute old"
    clock.now += 120
    assert distribution.maximum == 1.0
    assert distribution.quantiles([0.99]) == [pytest.approx(1.0, rel=0.02)]
    clock.now += 10_000
    assert distribution.maximum == 0.0
    assert (distribution.count, distribution.total) == (2, 101.0)


def test_memory_does_not_grow_with_what_is_observed() -> None:
    clock = Clock()
    distribution = Distribution(clock)
    numbers = random.Random(3)
    for _ in range(50_000):
        clock.now += 0.01
        distribution.observe(10 ** numbers.uniform(-9, 6))
    bins = [len(span) for span in distribution._bins]
    assert len(bins) <= 3
    assert max(bins) < 1000


def test_a_summary_shows_its_distributions_by_label() -> None:
    registry = CollectorRegistry()
    summary = Summary("find_seconds", "Finds.", ("tenant",), (0.5, 0.99), registry=registry)
    summary.of("one").observe(2.0)
    text = generate_latest(registry).decode()
    assert "# TYPE find_seconds summary" in text
    assert 'find_seconds{quantile="0.99",tenant="one"} 1.98' in text
    assert 'find_seconds_count{tenant="one"} 1.0' in text
    assert 'find_seconds_sum{tenant="one"} 2.0' in text
    assert "# TYPE find_seconds_max gauge" in text
    assert 'find_seconds_max{tenant="one"} 2.0' in text


def test_past_a_number_of_label_values_all_others_are_counted_together() -> None:
    registry = CollectorRegistry()
    summary = Summary("calls", "Calls.", ("tenant",), (), registry=registry, most=3)
    for number in range(10):
        summary.of(f"tenant-{number}").observe(1)
    assert 'calls_count{tenant="OTHER"} 7.0' in generate_latest(registry).decode()


def test_a_wrong_number_of_label_values_is_refused() -> None:
    summary = Summary("calls", "Calls.", ("tenant", "command"), (), registry=CollectorRegistry())
    with pytest.raises(ValueError, match="labels"):
        summary.of("one")
