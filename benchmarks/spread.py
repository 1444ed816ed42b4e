"""The figures of several rounds as one: their median, with the lowest and the highest, and ratios of them."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Measured(Protocol):
    """A measurement of a round."""

    round: int


Measurement = TypeVar("Measurement", bound=Measured)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of a figure over the rounds, and its extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def spread(runs: Sequence[Measurement], figure: Callable[[Measurement], float | None]) -> Spread | None:
    """Return the spread of a figure; None where no run has it."""
    values = [value for run in runs if (value := figure(run)) is not None]
    return Spread.of(values) if values else None


def ratio(
    runs: Sequence[Measurement], others: Sequence[Measurement], figure: Callable[[Measurement], float | None]
) -> Spread | None:
    """Return the spread of a figure relative to another contender's of the same round."""
    by_round = {run.round: figure(run) for run in others}
    values = [
        value / other for run in runs if (value := figure(run)) is not None and (other := by_round.get(run.round))
    ]
    return Spread.of(values) if values else None
