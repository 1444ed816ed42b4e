"""A set of row numbers, kept as ranges."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence


def ranges_of(numbers: Iterable[int]) -> list[list[int]]:
    """Return ascending numbers as inclusive ranges."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


class RowSet:
    """Row numbers, most of them in a row."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number <= self._ends[at]

    def __len__(self) -> int:
        return sum(end - start + 1 for start, end in self.ranges())

    def ranges(self) -> list[tuple[int, int]]:
        """Return the numbers as inclusive ranges, in order."""
        return list(zip(self._starts, self._ends, strict=True))

    def add(self, first: int, last: int) -> None:
        """Add a range, both ends included."""
        low = bisect_right(self._ends, first - 2)
        high = bisect_right(self._starts, last + 1)
        if low < high:
            first = min(first, self._starts[low])
            last = max(last, self._ends[high - 1])
        self._starts[low:high] = [first]
        self._ends[low:high] = [last]

    def discard(self, numbers: Sequence[int]) -> None:
        """Take numbers out."""
        for number in numbers:
            at = bisect_right(self._starts, number) - 1
            if at < 0 or number > self._ends[at]:
                continue
            first, last = self._starts[at], self._ends[at]
            parts = [part for part in ((first, number - 1), (number + 1, last)) if part[0] <= part[1]]
            self._starts[at : at + 1] = [start for start, _ in parts]
            self._ends[at : at + 1] = [end for _, end in parts]
