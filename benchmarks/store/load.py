"""The load: a process that asks one contender in a closed loop and measures.

`python -m benchmarks.store.load` reads a `Task` from a line of standard input, prepares, says so by a line, begins when
it is given another line, and writes an `Outcome`; then it reads the next task. It is the same program for every
contender.
"""

import asyncio
import functools
import itertools
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.procfs import usage
from benchmarks.store.answers import Judge, Judgement
from benchmarks.store.cases import BATCH, MIXED_WRITES, WRITES_OF_100, Outcome, Task
from benchmarks.store.clients import CallFailedError, Client, make_client
from benchmarks.store.dataset import CATEGORIES, TOP, TUNING_QUERIES, Dataset, Truth, categories, opened
from benchmarks.store.documents import Documents

#: Documents that are encoded before the clock runs; more are loaded a portion at a time.
_PORTION = 100_000
#: Pause before a server that did not answer is asked again.
_RETRY_SECONDS = 0.02
#: Of so many commands in a row the mixed load writes one.
_WRITE_EVERY = 100 // WRITES_OF_100


@dataclass
class Seen:
    """What the clients of a measurement saw."""

    searched: list[float] = field(default_factory=list)
    written: list[float] = field(default_factory=list)
    answers: list[tuple[int, list[int]]] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)


class Closed:
    """Clients that ask again as soon as they are answered, until their time is over."""

    def __init__(self, client: Client, clients: int) -> None:
        self._client = client
        self._clients = clients

    async def search(
        self, requests: list[tuple[int, Any]], seconds: float, writes: Iterator[Any] | None = None
    ) -> Seen:
        """Search for some time; with `writes`, every tenth command is one of them."""
        seen, until = Seen(), time.perf_counter() + seconds

        async def one(place: int) -> None:
            # Each begins elsewhere, so that no two ask the same at the same time.
            queries = itertools.cycle(requests[place:] + requests[:place])
            for turn in itertools.count(place):
                if time.perf_counter() >= until:
                    return
                if writes is not None and turn % _WRITE_EVERY == 0 and (request := next(writes, None)) is not None:
                    await self._timed(seen, seen.written, self._client.write(request))
                    continue
                number, request = next(queries)
                found = await self._timed(seen, seen.searched, self._client.search(request))
                if found is not None:
                    seen.answers.append((number, found))

        step = max(1, len(requests) // self._clients)
        await asyncio.gather(*(one(place * step % len(requests)) for place in range(self._clients)))
        return seen

    async def empty(self, seconds: float) -> Seen:
        """Send empty commands for some time."""
        seen, until = Seen(), time.perf_counter() + seconds

        async def one() -> None:
            while time.perf_counter() < until:
                await self._timed(seen, seen.searched, self._client.empty())

        await asyncio.gather(*(one() for _ in range(self._clients)))
        return seen

    async def write(self, requests: list[Any]) -> Seen:
        """Write everything, each client what comes next."""
        seen, left = Seen(), iter(requests)

        async def one() -> None:
            for request in left:
                await self._timed(seen, seen.written, self._client.write(request))

        await asyncio.gather(*(one() for _ in range(self._clients)))
        return seen

    @staticmethod
    async def _timed(seen: Seen, latencies: list[float], call: Awaitable[Any]) -> Any:
        begin = time.perf_counter()
        try:
            result = await call
        except CallFailedError as problem:
            seen.failures[str(problem)] += 1
            await asyncio.sleep(0)  # a client that fails at once still lets the others run
            return None
        latencies.append((time.perf_counter() - begin) * 1000)
        return result


#: Data is the same from task to task.
_opened = functools.lru_cache(maxsize=1)(opened)


class Measurement:
    """A task under way."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._data: Dataset = _opened(Path(task.data))
        self._client = make_client(task)
        self._closed = Closed(self._client, task.clients)

    async def run(self) -> Outcome:
        """Do the task."""
        if self._task.action == "restart":
            return await self._restart()
        await self._client.open()
        try:
            match self._task.action:
                case "create" | "index" | "drop":
                    return await self._manage()
                case "floor":
                    return await self._floor()
                case "load":
                    return await self._load()
                case "search" | "mixed":
                    return await self._search()
                case _:
                    raise ValueError(self._task.action)
        finally:
            await self._client.close()

    async def _manage(self) -> Outcome:
        calls: dict[str, Callable[[], Awaitable[None]]] = {
            "create": self._client.create,
            "index": self._client.index,
            "drop": self._client.drop,
        }
        await ready()
        begin = time.perf_counter()
        await calls[self._task.action]()
        return Outcome(seconds=time.perf_counter() - begin)

    async def _floor(self) -> Outcome:
        await self._closed.empty(self._task.warm_up)
        await ready()
        outcome, _ = await self._measured(lambda: self._closed.empty(self._task.seconds))
        return outcome

    async def _load(self) -> Outcome:
        documents, total = Documents(self._data), Outcome(seconds=0)
        await self._client.before_load()
        for first in range(self._task.first, self._task.documents, _PORTION):
            last = min(first + _PORTION, self._task.documents)
            requests = [
                self._client.encode_write(documents, range(at, min(at + BATCH, last)))
                for at in range(first, last, BATCH)
            ]
            if first == self._task.first:
                await ready()
            outcome, _ = await self._measured(functools.partial(self._closed.write, requests))
            total.seconds += outcome.seconds
            total.written += outcome.written
            total.server_cpu += outcome.server_cpu
            total.client_cpu += outcome.client_cpu
            total.failures = dict(Counter(total.failures) + Counter(outcome.failures))
        total.documents = len(total.written) * BATCH
        begin = time.perf_counter()
        await self._client.index()
        total.index_seconds = time.perf_counter() - begin
        return total

    async def _search(self) -> Outcome:
        task, queries = self._task, self._data.queries
        numbers = range(TUNING_QUERIES) if task.tuning else range(TUNING_QUERIES, len(queries))
        requests = [(number, self._client.encode_search(queries[number], task.category)) for number in numbers]
        truth = self._data.truth(task.documents, task.category)
        writes = self._writes() if task.action == "mixed" else None
        await self._closed.search(requests, task.warm_up)
        await ready()
        outcome, seen = await self._measured(lambda: self._closed.search(requests, task.seconds, writes))
        judged = self._judged(seen.answers, truth)
        outcome.right, outcome.expected, outcome.wrong = judged.right, judged.expected, judged.wrong
        outcome.documents = len(seen.written)
        return outcome

    def _judged(self, found: list[tuple[int, list[int]]], truth: Truth) -> Judgement:
        task = self._task
        judge = Judge(self._data.vectors, categories(self._data.size), task.documents)
        category = CATEGORIES.index(task.category) if task.category else None
        return judge.judge(found, self._data.queries, truth, category)

    async def _restart(self) -> Outcome:
        """Ask a server that is being started until it answers as it did before; the clock runs from its start."""
        # What imports and encodes is done before.
        request = self._client.encode_search(self._data.queries[0], "")
        before = set(await self._asked_anew(request))
        await ready()
        begin, failures = time.perf_counter(), Counter[str]()
        while (seconds := time.perf_counter() - begin) < self._task.seconds:
            try:
                found = await self._asked_anew(request)
            except Exception as problem:  # noqa: BLE001 - each client says in its own way that nobody listens
                failures[type(problem).__name__] += 1
            else:
                if len(before.intersection(found)) >= TOP - 1:
                    seconds = time.perf_counter() - begin
                    return Outcome(seconds=seconds, searched=[seconds * 1000], failures=dict(failures))
                failures["another answer than before"] += 1
            await asyncio.sleep(_RETRY_SECONDS)
        return Outcome(seconds=seconds, failures=dict(failures))

    async def _asked_anew(self, request: Any) -> list[int]:
        await self._client.open()
        try:
            return await self._client.search(request)
        finally:
            await self._client.close()

    def _writes(self) -> Iterator[Any]:
        """Return documents of the reserve, one at a time; no two processes write the same."""
        task, documents = self._task, Documents(self._data)
        begin = self._data.size + task.first + task.process
        numbers = range(begin, begin + MIXED_WRITES * task.processes, task.processes)
        return iter([self._client.encode_write(documents, range(number, number + 1)) for number in numbers])

    async def _measured(self, work: Callable[[], Awaitable[Seen]]) -> tuple[Outcome, Seen]:
        server = self._server_cpu()
        own, begin = time.process_time(), time.perf_counter()
        seen = await work()
        seconds = time.perf_counter() - begin
        outcome = Outcome(
            seconds=seconds,
            searched=seen.searched,
            written=seen.written,
            failures=dict(seen.failures.most_common(5)),
            server_cpu=self._server_cpu() - server,
            client_cpu=time.process_time() - own,
        )
        return outcome, seen

    def _server_cpu(self) -> float:
        pid = self._task.target.pid
        return 0.0 if pid is None or pid == os.getpid() else usage(pid).cpu_seconds


async def ready() -> None:
    """Say that everything is prepared, and wait to be told to begin: all processes of a measurement do so together."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def serve() -> None:
    """Do tasks until there are no more."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            outcome = await Measurement(msgspec.json.decode(line, type=Task)).run()
        except Exception as problem:  # noqa: BLE001 - whoever gave the task decides what this means for the others
            traceback.print_exc()
            print("failed", f"{type(problem).__name__}: {problem}".replace("\n", " "), flush=True)
        else:
            print("done", msgspec.json.encode(outcome).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
