"""The load: a process that calls one contender in a closed loop and measures.

`python -m benchmarks.embedder.load` reads a `Task` from standard input and writes a `Run` to standard output. It is
the same process for every contender, so that what calling costs can be told from what the contender costs.
"""

import asyncio
import os
import secrets
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np

from benchmarks.embedder.cases import EXPONENT, VOCABULARY, Run, Task
from benchmarks.embedder.clients import CallFailedError, Client, Vectors, make_client
from benchmarks.embedder.provider import Counts
from benchmarks.embedder.vectors import DIMENSION, vector
from benchmarks.procfs import Usage, usage

#: Of this many calls, one has its vectors compared; of a call of many texts, this many vectors.
_COMPARE_EVERY = 16
_COMPARED_TEXTS = 16
_DRAWS = 200_000
#: How long the provider has to be quiet before a measurement with a rate limit, and how long that is waited for.
_QUIET_SECONDS = 2.0
_QUIET_LIMIT_SECONDS = 20.0
_PROSE = (
    "the quick report on every harbour says that ships arrive later in winter and that the town "
    "keeps its lamps lit until the last of them has been counted by the keeper of the northern pier"
)
_WORDS = _PROSE.split()

NextTexts = Callable[[], list[str]]


class WrongVectorError(Exception):
    """A vector that is not the text's."""


@dataclass
class Calls:
    """The calls of a measurement that ended, in whichever way; times are seconds of `time.perf_counter`."""

    answered: list[tuple[float, float, int]] = field(default_factory=list)
    """Start, end and texts of each that succeeded."""
    failed: list[tuple[float, str]] = field(default_factory=list)
    """End of each that failed, and why."""
    verified: int = 0


# --- texts ------------------------------------------------------------------


def distinct_texts(texts_per_call: int) -> NextTexts:
    """Return a source of texts of 15 words that no run sees twice."""
    run, number = secrets.token_hex(4), 0

    def next_texts() -> list[str]:
        nonlocal number
        first, number = number, number + texts_per_call
        return [_sentence(run, at) for at in range(first, number)]

    return next_texts


def repeated_texts() -> NextTexts:
    """Return a source of single texts from a new vocabulary, with the frequencies of Zipf's law."""
    run = secrets.token_hex(4)
    weights = 1 / np.arange(1, VOCABULARY + 1) ** EXPONENT
    draws = np.random.default_rng(1).choice(VOCABULARY, _DRAWS, p=weights / weights.sum()).tolist()
    number = 0

    def next_texts() -> list[str]:
        nonlocal number
        number += 1
        return [_sentence(run, draws[number % _DRAWS])]

    return next_texts


def _sentence(run: str, number: int) -> str:
    start = number % (len(_WORDS) - 14)
    return f"{run} {number} {' '.join(_WORDS[start : start + 13])}"


# --- calls ------------------------------------------------------------------


class Loop:
    """Callers who call until they are told to stop, each as soon as its last call has ended."""

    def __init__(self, client: Client, next_texts: NextTexts) -> None:
        self.calls = Calls()
        self._next_texts = next_texts
        self._client = client
        self._going = True

    def stop(self) -> None:
        """Let no call begin any more."""
        self._going = False

    async def caller(self) -> None:
        """Call, one call at a time. Raises `WrongVectorError`."""
        while self._going:
            texts = self._next_texts()
            start = time.perf_counter()
            try:
                vectors = await self._client.embed(texts)
            except CallFailedError as problem:
                self.calls.failed.append((time.perf_counter(), str(problem)))
                await asyncio.sleep(0)  # a client that fails at once still lets the others run
                continue
            self.calls.answered.append((start, time.perf_counter(), len(texts)))
            _verify(self.calls, texts, vectors)


def _verify(calls: Calls, texts: list[str], vectors: Vectors) -> None:
    """Compare a sample of vectors. Raises `WrongVectorError`."""
    if vectors.shape != (len(texts), DIMENSION):
        raise WrongVectorError(f"{len(texts)} texts gave vectors of the shape {vectors.shape}")
    if len(calls.answered) % _COMPARE_EVERY != 1:
        return
    for at in range(0, len(texts), max(1, len(texts) // _COMPARED_TEXTS)):
        if not np.allclose(vectors[at], vector(texts[at]), rtol=0, atol=1e-6):
            raise WrongVectorError(f"the vector of text {at} of {len(texts)} is not the one the provider sent")
        calls.verified += 1


# --- the measurement --------------------------------------------------------


class Provider:
    """The provider's controls."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def set(self, latency_seconds: float, requests_per_minute: float) -> None:
        """Set latency and limit, and count from zero."""
        settings = {"latency_seconds": latency_seconds, "requests_per_minute": requests_per_minute}
        self._opener.open(f"{self._url}/_settings", msgspec.json.encode(settings), timeout=10).close()

    def counts(self) -> Counts:
        """Return what came since."""
        with self._opener.open(f"{self._url}/_counts", timeout=10) as answer:
            return msgspec.json.decode(answer.read(), type=Counts)

    def wait_until_quiet(self) -> None:
        """Wait until no request has come for some time: a proxy may still ask for callers who gave up on it."""
        deadline = time.monotonic() + _QUIET_LIMIT_SECONDS
        seen, since = self.counts().requests, time.monotonic()
        while (now := time.monotonic()) < min(deadline, since + _QUIET_SECONDS):
            time.sleep(0.1)
            if (requests := self.counts().requests) != seen:
                seen, since = requests, now


@dataclass(frozen=True)
class _Snapshot:
    """What had been used and counted at a moment."""

    at: float
    contender: Usage
    caller_cpu_seconds: float
    caller: Usage
    provider: Usage
    counts: Counts

    @classmethod
    async def take(cls, task: Task, provider: Provider) -> "_Snapshot":
        counts = await asyncio.to_thread(provider.counts)
        contender = Usage(0, 0, 0) if task.pid is None else usage(task.pid)
        processes = contender, time.process_time(), usage(os.getpid()), usage(task.provider_pid)
        return cls(time.perf_counter(), *processes, counts)


async def measure(task: Task) -> Run:
    """Warm up, then measure from rest to rest, so that every cost belongs to a call. Raises `WrongVectorError`."""
    case, provider, client = task.case, Provider(task.provider_url), make_client(task)
    distinct = distinct_texts(case.texts_per_call)
    try:
        if case.limited:
            provider.wait_until_quiet()
        provider.set(task.latency_seconds, 0)
        await call_for(client, case.callers, task.warm_up_seconds, distinct)
        provider.set(task.latency_seconds, task.requests_per_minute if case.limited else 0)
        before = await _Snapshot.take(task, provider)
        texts = repeated_texts() if case.repeated else distinct
        begin = time.perf_counter()
        calls = await call_for(client, case.callers, task.seconds * case.stretch, texts)
        after = await _Snapshot.take(task, provider)
    finally:
        await client.close()
    return _run(task, calls, begin, before, after)


async def call_for(client: Client, callers: int, seconds: float, next_texts: NextTexts) -> Calls:
    """Let callers begin calls for some time, and wait until the last one has ended."""
    loop = Loop(client, next_texts)
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(loop.caller())
        await asyncio.sleep(seconds)
        loop.stop()
    return loop.calls


def _run(task: Task, calls: Calls, begin: float, before: _Snapshot, after: _Snapshot) -> Run:
    answered, end = calls.answered, begin + task.seconds * task.case.stretch
    failures = Counter(why for _, why in calls.failed)
    latencies = [(stop - start) * 1000 for start, stop, _ in answered]
    p50, p99 = np.percentile(latencies, (50, 99)).tolist() if latencies else (None, None)
    if task.case.limited:
        # While the last calls wait to be let in, fewer and fewer ask: what came then says nothing of the rate.
        rated, seconds = [call for call in answered if call[1] < end], end - begin
    else:
        # Calls in step with one another would make a rate within a fixed time jump by all of them.
        rated, seconds = answered, max((stop for _, stop, _ in answered), default=end) - begin
    return Run(
        contender=task.contender,
        case=task.case.name,
        round=task.round,
        seconds=after.at - before.at,
        calls_per_second=len(rated) / seconds,
        texts_per_second=sum(size for _, _, size in rated) / seconds,
        p50_ms=p50,
        p99_ms=p99,
        calls=len(answered),
        texts=sum(size for _, _, size in answered),
        failed=failures.total(),
        failures=dict(failures.most_common(3)),
        verified=calls.verified,
        upstream_requests=after.counts.requests,
        upstream_refused=after.counts.refused,
        upstream_texts=after.counts.texts,
        upstream_largest_batch=after.counts.largest_batch,
        upstream_most_at_once=after.counts.most_at_once,
        held_ms=after.counts.held_seconds * 1000 / max(1, after.counts.answered),
        contender_cpu_seconds=after.contender.cpu_seconds - before.contender.cpu_seconds,
        caller_cpu_seconds=after.caller_cpu_seconds - before.caller_cpu_seconds,
        provider_cpu_seconds=after.provider.cpu_seconds - before.provider.cpu_seconds,
        contender_mib=after.contender.resident_mib,
        contender_peak_mib=after.contender.peak_mib,
        caller_mib=after.caller.resident_mib,
    )


def main() -> None:
    """Do the task of standard input."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    run = asyncio.run(measure(task))
    sys.stdout.buffer.write(msgspec.json.encode(run))


if __name__ == "__main__":
    main()
