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

from benchmarks.embedder.cases import EXPONENT, VOCABULARY, Case, Run, Task
from benchmarks.embedder.clients import CallFailedError, Client, Vectors, make_client
from benchmarks.embedder.procfs import Usage, usage
from benchmarks.embedder.provider import Counts
from benchmarks.embedder.vectors import DIMENSION, vector

#: Of this many calls, one has its vectors compared; of a call of many texts, this many vectors.
_COMPARE_EVERY = 16
_COMPARED_TEXTS = 16
_DRAWS = 200_000
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
    """The calls of a measurement."""

    spans: list[tuple[float, float, int]] = field(default_factory=list)
    """Start, end and texts of each that succeeded; seconds of `time.perf_counter`."""
    failures: Counter[str] = field(default_factory=Counter)
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


def _source(case: Case) -> NextTexts:
    return repeated_texts() if case.repeated else distinct_texts(case.texts_per_call)


# --- calls ------------------------------------------------------------------


async def call_for(client: Client, callers: int, seconds: float, next_texts: NextTexts) -> tuple[Calls, float]:
    """Let callers call until the time is over, and wait for the last answers.

    Returns the calls and when their time began, in seconds of `time.perf_counter`.
    """
    calls = Calls()
    begin = time.perf_counter()
    end = begin + seconds

    async def caller() -> None:
        while (start := time.perf_counter()) < end:
            texts = next_texts()
            try:
                vectors = await client.embed(texts)
            except CallFailedError as problem:
                calls.failures[str(problem)] += 1
                continue
            calls.spans.append((start, time.perf_counter(), len(texts)))
            _verify(calls, texts, vectors)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return calls, begin


def _verify(calls: Calls, texts: list[str], vectors: Vectors) -> None:
    """Compare a sample of vectors. Raises `WrongVectorError`."""
    if vectors.shape != (len(texts), DIMENSION):
        raise WrongVectorError(f"{len(texts)} texts gave vectors of the shape {vectors.shape}")
    if len(calls.spans) % _COMPARE_EVERY != 1:
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


@dataclass(frozen=True)
class _Used:
    contender: Usage
    caller: Usage
    provider: Usage

    @classmethod
    def now(cls, task: Task) -> "_Used":
        contender = Usage(0, 0, 0) if task.pid is None else usage(task.pid)
        return cls(contender, usage(os.getpid()), usage(task.provider_pid))


async def measure(task: Task) -> Run:
    """Warm up, then measure. Raises `WrongVectorError`."""
    provider = Provider(task.provider_url)
    client = make_client(task)
    try:
        provider.set(task.latency_seconds, 0)
        await call_for(client, task.case.callers, task.warm_up_seconds, distinct_texts(task.case.texts_per_call))
        next_texts = _source(task.case)
        provider.set(task.latency_seconds, task.requests_per_minute if task.case.limited else 0)
        before, caller_before = _Used.now(task), time.process_time()
        calls, begin = await call_for(client, task.case.callers, task.seconds, next_texts)
        elapsed, caller_cpu = time.perf_counter() - begin, time.process_time() - caller_before
        after, counts = _Used.now(task), provider.counts()
    finally:
        await client.close()
    end = begin + task.seconds
    shares = [min(1.0, (end - start) / (stop - start)) for start, stop, _ in calls.spans]
    latencies = [(stop - start) * 1000 for start, stop, _ in calls.spans]
    p50, p99 = np.percentile(latencies, (50, 99)).tolist() if latencies else (None, None)
    embedded = counts.requests - counts.refused - counts.invalid
    return Run(
        contender=task.contender,
        case=task.case.name,
        round=task.round,
        calls_per_second=sum(shares) / task.seconds,
        texts_per_second=sum(share * size for share, (_, _, size) in zip(shares, calls.spans, strict=True))
        / task.seconds,
        p50_ms=p50,
        p99_ms=p99,
        calls=len(calls.spans),
        texts=sum(size for _, _, size in calls.spans),
        failed=calls.failures.total(),
        failures=dict(calls.failures.most_common(3)),
        verified=calls.verified,
        upstream_requests=counts.requests,
        upstream_refused=counts.refused,
        upstream_texts=counts.texts,
        upstream_largest_batch=counts.largest_batch,
        upstream_most_at_once=counts.most_at_once,
        held_ms=counts.held_seconds * 1000 / max(1, embedded),
        elapsed_seconds=elapsed,
        contender_cpu_seconds=after.contender.cpu_seconds - before.contender.cpu_seconds,
        caller_cpu_seconds=caller_cpu,
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
