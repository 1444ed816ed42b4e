"""Searches that arrive together are answered by one call.

A search waits for the queue's lock. Whoever gets it first leads: it searches for all that wait. The others find
themselves answered, and the next to come has waited no longer than one call takes.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from services.store.vectors.index import Nearest
from services.store.vectors.similarity import Vectors

#: Finds the nearest to each of the queries float32[q, d].
Search = Callable[[Vectors, int], list[Nearest]]

#: Searches of one call, at most: as many as keep its answer prompt.
_MOST = 32


@dataclass(slots=True)
class _Waiting:
    query: Vectors
    limit: int
    found: "Future[Nearest]" = field(default_factory=Future)


class SearchQueue:
    """The searches of one index that ask for the nearest of all its vectors."""

    def __init__(self) -> None:
        self._arriving = threading.Lock()
        self._leading = threading.Lock()
        self._waiting: list[_Waiting] = []

    def run(self, query: Vectors, limit: int, search: Search) -> Nearest:
        """Return the nearest to a query float32[d]; raises what `search`, or that of whoever led, raises."""
        mine = _Waiting(query, limit)
        with self._arriving:
            self._waiting.append(mine)
        with self._leading:
            if not mine.found.done():
                self._lead(mine, search)
        return mine.found.result()

    def _lead(self, mine: _Waiting, search: Search) -> None:
        # Only those that want as many: a search for more walks further.
        with self._arriving:
            batch = [waiting for waiting in self._waiting if waiting.limit == mine.limit and waiting is not mine]
            batch = [mine, *batch[: _MOST - 1]]
            led = set(map(id, batch))
            self._waiting = [waiting for waiting in self._waiting if id(waiting) not in led]
        try:
            found = search(np.stack([waiting.query for waiting in batch]), mine.limit)
        except BaseException as problem:
            for waiting in batch:
                waiting.found.set_exception(problem)
            raise
        for waiting, nearest in zip(batch, found, strict=True):
            waiting.found.set_result(nearest)
