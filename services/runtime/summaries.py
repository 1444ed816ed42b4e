"""Summaries for Prometheus with quantiles and a maximum over the last minutes, which its own client does not have.

A distribution is counted in bins whose bounds grow by a constant factor, so that a quantile is off by at most 2 %
of its value and memory is bounded, whatever is observed. The bins of a few spans of time are kept and the oldest
thrown away: quantiles and maximum are those of the last two to three minutes, counts and sums those since the start.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

#: Spans that are kept, the one under way included, and how long each is, in seconds.
_SPANS = 3
_SPAN_SECONDS = 60.0
#: Bounds of bins grow by this factor; a value is told by the middle of its bin, so within its square root.
_GROWTH = 1.04
_SCALE = 1 / math.log(_GROWTH)
#: Values below are all alike: nothing that is measured is that small, but for zero.
_LEAST = 1e-9

Clock = Callable[[], float]


class Distribution:
    """What was observed of one thing. For one thread at a time."""

    __slots__ = ("_bins", "_clock", "_maxima", "_until", "count", "total")

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.count = 0
        self.total = 0.0
        self._clock = clock
        self._bins: list[dict[int, int]] = [{}]
        self._maxima = [0.0]
        self._until = clock() + _SPAN_SECONDS

    def observe(self, value: float) -> None:
        """Count a value that is not negative."""
        if self._clock() >= self._until:
            self._move_on()
        self.count += 1
        self.total += value
        bins = self._bins[-1]
        number = math.floor(math.log(value) * _SCALE) if value > _LEAST else _FIRST
        bins[number] = bins.get(number, 0) + 1
        if value > self._maxima[-1]:
            self._maxima[-1] = value

    @property
    def maximum(self) -> float:
        """The largest value of the last minutes, 0 for none."""
        self._move_on()
        return max(self._maxima)

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Return the values that these shares of the last minutes' values do not exceed; NaN where there are none."""
        self._move_on()
        bins: Counter[int] = Counter()
        for span in self._bins:
            bins.update(span)
        wanted = [max(1, math.ceil(share * bins.total())) for share in shares]
        found = [math.nan] * len(wanted)
        seen = 0
        for number in sorted(bins):
            seen += bins[number]
            for at, rank in enumerate(wanted):
                if math.isnan(found[at]) and seen >= rank:
                    found[at] = _middle(number)
        return found

    def _move_on(self) -> None:
        """Begin the span of now, and forget those that are too old."""
        late = self._clock() - self._until
        if late < 0:
            return
        passed = math.floor(late / _SPAN_SECONDS) + 1
        for _ in range(min(passed, _SPANS)):
            self._bins.append({})
            self._maxima.append(0.0)
        del self._bins[:-_SPANS], self._maxima[:-_SPANS]
        self._until += passed * _SPAN_SECONDS


class Summary(Collector):
    """Distributions by the values of labels, as `NAME{quantile=...}`, `NAME_count`, `NAME_sum` and `NAME_max`.

    Past `most` combinations of values further ones are counted together, with every value `OTHER`.
    """

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        quantiles: Sequence[float],
        *,
        registry: CollectorRegistry,
        most: int = 2_000,
        clock: Clock = time.monotonic,
    ) -> None:
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        self._quantiles = tuple(quantiles)
        self._most = most
        self._clock = clock
        self._of: dict[tuple[str, ...], Distribution] = {}
        registry.register(self)

    def of(self, *values: str) -> Distribution:
        """Return the distribution of these values of the labels. Raises `ValueError` for a wrong number of them."""
        found = self._of.get(values)
        if found is None:
            if len(values) != len(self._labels):
                raise ValueError(f"{self._name} has the labels {self._labels}, not {len(values)} of them")
            if len(self._of) >= self._most:
                values = ("OTHER",) * len(self._labels)
            found = self._of.setdefault(values, Distribution(self._clock))
        return found

    def describe(self) -> Iterator[Metric]:
        """Yield the families without samples."""
        yield Metric(self._name, self._text, "summary")
        yield Metric(f"{self._name}_max", f"{self._text} The largest of the last minutes.", "gauge")

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        summary, maximum = self.describe()
        for values, distribution in list(self._of.items()):
            labels = dict(zip(self._labels, values, strict=True))
            for share, value in zip(self._quantiles, distribution.quantiles(self._quantiles), strict=True):
                summary.add_sample(self._name, {**labels, "quantile": str(share)}, value)
            summary.add_sample(f"{self._name}_count", labels, distribution.count)
            summary.add_sample(f"{self._name}_sum", labels, distribution.total)
            maximum.add_sample(f"{self._name}_max", labels, distribution.maximum)
        yield summary
        yield maximum


def _middle(number: int) -> float:
    return 0.0 if number == _FIRST else math.exp((number + 0.5) / _SCALE)


_FIRST = math.floor(math.log(_LEAST) * _SCALE) - 1
