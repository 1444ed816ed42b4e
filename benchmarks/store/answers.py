"""Whether answers are right, judged after the clock has stopped."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.store.dataset import RESERVE, TOP, Truth

Float32 = NDArray[np.float32]

#: Contenders compute in other orders than the exact search did: that far two cosines may differ and be the same.
_TOLERANCE = 1e-5


@dataclass(slots=True)
class Judgement:
    """What some answers held."""

    right: int = 0
    """Documents as near as the tenth of the exact answer."""
    expected: int = 0
    """Documents that should have been there."""
    wrong: int = 0
    """Documents that should not: unknown, twice in one answer, or of another category."""


@dataclass(frozen=True)
class Judge:
    """Knows the documents: their vectors (the reserve's last), their categories, and how many were loaded."""

    vectors: Float32
    categories: NDArray[np.int64]
    documents: int

    def judge(
        self,
        answers: Sequence[tuple[int, Sequence[int]]],
        queries: Float32,
        truth: Truth,
        category: int | None = None,
    ) -> Judgement:
        """Judge answers, each the number of its query and the numbers of the documents it held."""
        result = Judgement()
        for query, numbers in answers:
            known = [number for number in dict.fromkeys(numbers) if self._belongs(number, category)]
            result.wrong += len(numbers) - len(known)
            result.expected += TOP
            if known:
                cosines = self.vectors[[self._row(number) for number in known]] @ queries[query]
                near = int((cosines >= truth.tenth[query] - _TOLERANCE).sum())
                result.right += min(near, TOP)
        return result

    def _belongs(self, number: int, category: int | None) -> bool:
        """Tell whether a document may be in an answer. What is written during a run is in the last category."""
        size = len(self.categories)
        if not (0 <= number < self.documents or number >= size):
            return False
        return category is None or (number < size and bool(self.categories[number] == category))

    def _row(self, number: int) -> int:
        size = len(self.categories)
        return number if number < size else size + (number - size) % RESERVE
