"""Searches that arrive together are answered by one call.

A search waits for the queue's lock. Whoever gets it first leads: it answers all that wait, in one go. The others
find themselves answered, and the next to come has waited no longer than one call takes. So one thread works at a
time, which costs less than threads that take turns, and FAISS compares many queries at once.
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Search = TypeVar("Search")
Answer = TypeVar("Answer")

#: Searches of one call, at most: as many as keep its answer prompt.
_MOST = 32


@dataclass(slots=True)
class _Waiting(Generic[Search, Answer]):
    search: Search
    kind: Hashable
    answer: "Future[Answer]" = field(default_factory=Future)


class SearchQueue(Generic[Search, Answer]):
    """The searches of one index. `answer` answers several of one kind."""

    def __init__(self, answer: Callable[[Sequence[Search]], list[Answer]]) -> None:
        self._answer = answer
        self._arriving = threading.Lock()
        self._leading = threading.Lock()
        self._waiting: list[_Waiting[Search, Answer]] = []

    def run(self, search: Search, kind: Hashable) -> Answer:
        """Return the answer to a search; raises what `answer` raises for it alone."""
        mine = _Waiting[Search, Answer](search, kind)
        with self._arriving:
            self._waiting.append(mine)
        with self._leading:
            if not mine.answer.done():
                self._lead(mine)
        return mine.answer.result()

    def _lead(self, mine: _Waiting[Search, Answer]) -> None:
        with self._arriving:
            alike = [waiting for waiting in self._waiting if waiting.kind == mine.kind and waiting is not mine]
            batch = [mine, *alike[: _MOST - 1]]
            led = set(map(id, batch))
            self._waiting = [waiting for waiting in self._waiting if id(waiting) not in led]
        try:
            answers = self._answer([waiting.search for waiting in batch])
        except Exception as problem:  # noqa: BLE001 - told to whoever asked
            if len(batch) == 1:
                mine.answer.set_exception(problem)
                return
            # One of them may be at fault: each is answered alone.
            for waiting in batch:
                self._alone(waiting)
            return
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.answer.set_result(answer)

    def _alone(self, waiting: _Waiting[Search, Answer]) -> None:
        try:
            (answer,) = self._answer([waiting.search])
        except Exception as problem:  # noqa: BLE001 - told to whoever asked
            waiting.answer.set_exception(problem)
        else:
            waiting.answer.set_result(answer)
