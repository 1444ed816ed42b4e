"""Searches of one kind that arrive together are answered by one call.

A search waits for the lock of its kind. Whoever gets it first leads: it answers all that wait, in one go. The others
find themselves answered, and the next to come has waited no longer than one call takes. So one thread works at a
time, which costs less than threads that take turns, and FAISS compares many queries at once. Searches of another kind
wait for none of this.
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Search = TypeVar("Search")
Answer = TypeVar("Answer")

#: Searches of one call, at most: as many as keep its answer prompt.
_MOST = 32


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Search, Answer]):
    """A search, and its answer or what was raised. The lock of its line tells that one of both is there."""

    search: Search
    answer: Answer | None = None
    problem: Exception | None = None

    @property
    def done(self) -> bool:
        return self.answer is not None or self.problem is not None

    def result(self) -> Answer:
        if self.problem is not None:
            raise self.problem
        assert self.answer is not None
        return self.answer


@dataclass(slots=True)
class _Line(Generic[Search, Answer]):
    """The searches of one kind; `inside` are those that wait or are being answered."""

    leading: threading.Lock = field(default_factory=threading.Lock)
    waiting: list[_Waiting[Search, Answer]] = field(default_factory=list)
    inside: int = 0


class SearchQueue(Generic[Search, Answer]):
    """The searches of one index. `answer` answers several of one kind, none with None."""

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
        line = self._join(mine, kind)
        try:
            with line.leading:
                if not mine.done:
                    self._lead(line, mine)
        finally:
            self._leave(line, kind)
        return mine.result()

    def _join(self, mine: _Waiting[Search, Answer], kind: Hashable) -> _Line[Search, Answer]:
        """Return the line of a kind, which is there as long as anybody is inside."""
        with self._lock:
            line = self._lines.get(kind)
            if line is None:
                line = self._lines[kind] = _Line()
            line.inside += 1
            line.waiting.append(mine)
            return line

    def _leave(self, line: _Line[Search, Answer], kind: Hashable) -> None:
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
                mine.problem = problem
                return
            # One of them may be at fault: each is answered alone.
            for waiting in batch:
                self._alone(waiting)
            return
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.answer = answer

    def _alone(self, waiting: _Waiting[Search, Answer]) -> None:
        try:
            (waiting.answer,) = self._answer([waiting.search])
        except Exception as problem:  # noqa: BLE001 - told to whoever asked
            waiting.problem = problem
