"""Searches of one kind that arrive together are answered by one call.

A search waits for the lock of its kind. Whoever gets it first leads: it answers all that wait, in one go. The others
find themselves answered, and the next to come has waited no longer than one call takes. So one thread works at a
time, which costs less than threads that take turns, and FAISS compares many queries at once. Searches of another kind
wait for none of this.
"""

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Search = TypeVar("Search")
Answer = TypeVar("Answer")

#: Searches of one call, at most: as many as keep its answer prompt.
_MOST = 32


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Search, Answer]):
    search: Search
    answer: "Future[Answer]" = field(default_factory=Future)


@dataclass(slots=True)
class _Line(Generic[Search, Answer]):
    """The searches of one kind; `inside` are those that wait or are being answered."""

    leading: threading.Lock = field(default_factory=threading.Lock)
    waiting: list[_Waiting[Search, Answer]] = field(default_factory=list)
    inside: int = 0


class SearchQueue(Generic[Search, Answer]):
    """The searches of one index. `answer` answers several of one kind."""

    def __init__(self, answer: Callable[[Sequence[Search]], list[Answer]]) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self._lines: dict[Hashable, _Line[Search, Answer]] = {}

    def __len__(self) -> int:
        """Return how many searches wait or are being answered."""
        with self._lock:
            return sum(line.inside for line in self._lines.values())

    def run(self, search: Search, kind: Hashable) -> Answer:
        """Return the answer to a search; raises what `answer` raises for it alone."""
        mine = _Waiting[Search, Answer](search)
        with self._joined(mine, kind) as line, line.leading:
            if not mine.answer.done():
                self._lead(line, mine)
        return mine.answer.result()

    @contextmanager
    def _joined(self, mine: _Waiting[Search, Answer], kind: Hashable) -> Iterator[_Line[Search, Answer]]:
        """Give the line of a kind, which is there as long as anybody is inside."""
        with self._lock:
            line = self._lines.setdefault(kind, _Line())
            line.inside += 1
            line.waiting.append(mine)
        try:
            yield line
        finally:
            with self._lock:
                line.inside -= 1
                if not line.inside:
                    del self._lines[kind]

    def _lead(self, line: _Line[Search, Answer], mine: _Waiting[Search, Answer]) -> None:
        with self._lock:
            line.waiting.remove(mine)
            batch = [mine, *line.waiting[: _MOST - 1]]
            line.waiting = line.waiting[_MOST - 1 :]
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
