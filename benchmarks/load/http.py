"""Calls of the gateway by HTTP: callers of one asyncio program, each with one command at a time."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence

from benchmarks.load import figures
from benchmarks.load.bodies import find_commands, find_one_commands, insert_many_commands
from benchmarks.load.cases import Case, Run
from benchmarks.load.target import Target, check_answer, command_path
from benchmarks.store.clients import CallFailedError

COMMANDS: dict[str, Callable[[], list[bytes]]] = {
    "http-find-one": find_one_commands,
    "http-find": find_commands,
    "http-insert-many": insert_many_commands,
}
#: What the answer to a case's command has in it.
_EXPECTED = {
    "http-find-one": b'"document":{"_id":',
    "http-find": b'"documents":[{',
    "http-insert-many": b'"insertedIds":[',
}


async def call(
    target: Target, case: Case, collection: str, commands: Sequence[bytes], callers: int, seconds: float
) -> Run:
    """Send a case's commands for some time, and wait for the last answers."""
    path, expected = command_path(target.keyspace, collection), _EXPECTED[case.name]
    latencies, failures = list[float](), Counter[str]()
    http = target.connection()

    async def caller(place: int) -> None:
        # Each begins elsewhere, so that no two send the same at the same time.
        first = place * len(commands) // callers
        for command in itertools.cycle([*commands[first:], *commands[:first]]):
            start = time.perf_counter()
            if start >= until:
                return
            try:
                answer = await http.send(path, command)
                check_answer(answer)
                if expected not in answer:
                    raise CallFailedError(f"the answer has no {expected.decode()}")
            except CallFailedError as problem:
                failures[str(problem)] += 1
                await asyncio.sleep(0)  # a call that fails at once still lets the others run
                continue
            latencies.append((time.perf_counter() - start) * 1000)

    await http.open()
    try:
        cpu, begin = time.process_time(), time.perf_counter()
        until = begin + seconds
        await asyncio.gather(*(caller(place) for place in range(callers)))
        taken, cpu = time.perf_counter() - begin, time.process_time() - cpu
    finally:
        await http.close()
    return figures.run(case, callers, taken, latencies, failures, cpu)
