"""The documents that are loaded: what each contender gets of them is made from here."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.store.dataset import CATEGORIES, RESERVE, Dataset, categories

Float32 = NDArray[np.float32]


class Documents:
    """The documents of some data, by number. Numbers beyond the data are copies of the reserve, in turn."""

    def __init__(self, data: Dataset) -> None:
        self._data = data
        self._categories = categories(data.size)

    def row(self, number: int) -> int:
        """Return where a document's vector and text are in the data."""
        size = self._data.size
        return number if number < size else size + (number - size) % RESERVE

    def vector(self, number: int) -> Float32:
        """Return a document's vector."""
        vector: Float32 = self._data.vectors[self.row(number)]
        return vector

    def category(self, number: int) -> str:
        """Return a document's category; what is written later is in none that is searched."""
        return CATEGORIES[self._categories[number]] if number < self._data.size else CATEGORIES[-1]

    def fields(self, number: int) -> dict[str, Any]:
        """Return a document's fields: text, category, a number and a nested one."""
        return {
            "text": self._data.text(self.row(number)),
            "category": self.category(number),
            "number": number * 37 % 1000,
            "place": {"shelf": f"s{number % 97}", "position": number % 13},
        }
