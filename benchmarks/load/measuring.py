"""The order of a run: every case with every number of callers, in collections that are made for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from benchmarks.load import ghz, http
from benchmarks.load.cases import BATCH, Case, Run
from benchmarks.load.target import Collections, Target
from benchmarks.procfs import usage

#: Callers of the warm-up of a case.
_WARM_UP_CALLERS = 8

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, for how long each time, and after how long a warm-up of each case."""

    cases: Sequence[Case]
    callers: Sequence[int]
    seconds: float
    warm_up_seconds: float


def unreachable(case: Case, target: Target) -> str | None:
    """Return why a case cannot be measured on a target; None where it can."""
    if case.service == "embedder" and target.embedding_service is not None:
        # One service is given, and one case asks with it.
        return "the provider is the one that was given" if case.name != "embed-offline" else None
    if case.own_servers and target.pid is None:
        return "no provider and model were given"
    if target.address(case.service) is None:
        return f"no address of the {case.service} was given"
    return None


async def measure(plan: Plan, target: Target, say: Say) -> list[Run]:
    """Measure. Raises `CallFailedError` where the target does not do what it has to beforehand, and `StartError`."""
    runs: list[Run] = []
    async with Collections(target) as collections:
        loaded = await collections.make_loaded()
        for case in plan.cases:
            async with _collection(case, collections, loaded) as name:
                await _one(case, target, name, _WARM_UP_CALLERS, plan.warm_up_seconds)
            for callers in plan.callers:
                async with _collection(case, collections, loaded) as name:
                    run = await _one(case, target, name, callers, plan.seconds)
                    if case.writes:
                        await _check_count(run, collections, name)
                runs.append(run)
                say(_progress(run))
    return runs


@contextlib.asynccontextmanager
async def _collection(case: Case, collections: Collections, loaded: str) -> AsyncIterator[str]:
    """Give the name of the collection that a case uses: the loaded one, or one of its own that it fills."""
    if not case.writes:
        yield loaded
        return
    name = await collections.make()
    yield name
    await collections.drop(name)


async def _one(case: Case, target: Target, collection: str, callers: int, seconds: float) -> Run:
    servers = _cpu(target)
    if case.service == "gateway":
        run = await http.call(target, case, collection, http.COMMANDS[case.name](), callers, seconds)
    else:
        settings = ghz.configuration(case, target, collection)
        run = await asyncio.to_thread(ghz.call, settings, case, callers, seconds)
    if servers is not None and (now := _cpu(target)) is not None:
        run.server_cpu_seconds = now - servers
    return run


def _cpu(target: Target) -> float | None:
    return None if target.pid is None else usage(target.pid).cpu_seconds


async def _check_count(run: Run, collections: Collections, name: str) -> None:
    """Count documents that were acknowledged and are not there as failures."""
    lost = run.calls * BATCH - await collections.count(name)
    if lost > 0:
        run.failed += lost
        run.failures["acknowledged documents that are not there"] = lost


def _progress(run: Run) -> str:
    latency = "no call succeeded" if run.p50_ms is None else f"p50 {run.p50_ms:.1f} ms, p99 {run.p99_ms:.1f} ms"
    why = f": {next(iter(run.failures))}" if run.failures else ""
    return (
        f"{run.case:<16} {run.callers:>3} callers {run.per_second:>8,.0f} calls/s, {latency}, {run.failed} failed{why}"
    )
