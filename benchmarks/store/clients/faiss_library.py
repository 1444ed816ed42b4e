"""FAISS in the measuring process itself: no server, no documents, nothing durable. What an index alone can do."""

from pathlib import Path
from typing import Any

import faiss as untyped
import numpy as np
from numpy.typing import NDArray

from benchmarks.store.cases import Task
from benchmarks.store.clients import Client
from benchmarks.store.dataset import CATEGORIES, DIMENSION, TOP, categories
from benchmarks.store.documents import Documents

Float32 = NDArray[np.float32]

#: What SWIG made of it has types for little.
faiss: Any = untyped

#: Links of a vector in the graph. The library's default of 40 candidates while it is built.
_LINKS = 32


class FaissLibrary(Client):
    """An index in memory, kept in a file between measurements; its effort is `efSearch`.

    It is never written to while it is searched: the library does not allow it.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._path = Path(task.target.address)
        self._effort = task.effort
        self._categories = categories(task.documents)
        self._selectors: dict[str, Any] = {}
        self._index: Any = None
        faiss.omp_set_num_threads(1)

    async def open(self) -> None:
        """Read the index."""
        if self._path.exists():
            self._index = faiss.read_index(str(self._path))

    async def close(self) -> None:
        """Leave the index to the end of the process."""

    async def create(self) -> None:
        """Make an empty index: a graph, or a flat one where the file's name says so."""
        flat = "flat" in self._path.name
        metric = faiss.METRIC_INNER_PRODUCT
        self._index = faiss.IndexFlat(DIMENSION, metric) if flat else faiss.IndexHNSWFlat(DIMENSION, _LINKS, metric)
        self._keep()

    async def drop(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

    async def index(self) -> None:
        """Keep what was added."""
        self._keep()

    def _keep(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        faiss.write_index(self._index, str(self._path))

    def encode_search(self, query: Float32, category: str) -> tuple[Float32, Any]:
        """Return query and parameters; the documents of a category are a bitmap, made once."""
        if category not in self._selectors:
            self._selectors[category] = self._parameters(category)
        return query[None], self._selectors[category]

    def _parameters(self, category: str) -> Any:
        given: dict[str, Any] = {}
        if category:
            # The bitmap has to live as long as the selector, which only points to it.
            chosen = np.packbits(self._categories == CATEGORIES.index(category), bitorder="little")
            given["sel"] = faiss.IDSelectorBitmap(chosen)
        if isinstance(self._index, faiss.IndexHNSW):
            if self._effort is not None:
                given["efSearch"] = int(self._effort)
            return faiss.SearchParametersHNSW(**given) if given else None
        return faiss.SearchParameters(**given) if given else None

    async def search(self, request: tuple[Float32, Any]) -> list[int]:
        """Return the numbers of the documents that were found; on this thread, whatever else waits for it."""
        query, parameters = request
        found: list[int] = self._index.search(query, TOP, params=parameters)[1][0].tolist()
        return [number for number in found if number >= 0]

    def encode_write(self, documents: Documents, numbers: range) -> Float32:
        """Return the vectors."""
        return np.stack([documents.vector(number) for number in numbers])

    async def write(self, request: Float32) -> None:
        """Add to the index, on every core: that is what building it takes."""
        faiss.omp_set_num_threads(2)
        self._index.add(request)
