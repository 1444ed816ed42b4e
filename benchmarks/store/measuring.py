"""Runs the processes that measure, and makes one figure of what they saw."""

import itertools
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from benchmarks.processes import Processes
from benchmarks.store.cases import Case, Outcome, Run, Task
from benchmarks.store.contenders import Contender
from benchmarks.store.dataset import Kind
from benchmarks.store.servers import PEERS

#: Longer than any measurement may take beyond what it is given: a load takes as long as it takes.
_SPARE_SECONDS = 1800.0
#: From so many clients on there are two processes, so that none of them is what limits a server on two cores.
_MANY_CLIENTS = 8


class MeasuringError(Exception):
    """A measuring process that failed; the message says why."""


class Measuring:
    """Measuring processes, which wait from one task to the next: two in Orrery's environment, two in the peers'."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._started: dict[tuple[str, int], subprocess.Popen[str]] = {}

    def run(self, contender: Contender, task: Task, between: Callable[[], None] = lambda: None) -> list[Outcome]:
        """Do a task and return what each of its processes saw; `between` is called when all are about to begin.

        Raises `MeasuringError`.
        """
        count = 2 if task.clients >= _MANY_CLIENTS and task.action in ("floor", "search", "mixed") else 1
        python = str(PEERS / "bin" / "python") if contender.in_peers else sys.executable
        places = [(python, number) for number in range(count)]
        ended = threading.Event()
        watch = threading.Timer(task.seconds + task.warm_up + _SPARE_SECONDS, self._give_up, (places, ended))
        watch.start()
        try:
            for number, place in enumerate(places):
                share = task.clients // count + (number < task.clients % count)
                own = msgspec.structs.replace(task, clients=share, process=number, processes=count)
                self._tell(place, msgspec.json.encode(own).decode())
            for place in places:
                self._hear(place, "ready")
            between()
            for place in places:
                self._tell(place, "go")
            return [msgspec.json.decode(self._hear(place, "done"), type=Outcome) for place in places]
        except (MeasuringError, BrokenPipeError) as problem:
            # The others of the task wait for a word that will not come.
            self._give_up(places, ended)
            raise MeasuringError(str(problem)) from None
        finally:
            watch.cancel()

    def _tell(self, place: tuple[str, int], line: str) -> None:
        process = self._started.get(place) or self._start(place)
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()

    def _hear(self, place: tuple[str, int], expected: str) -> str:
        """Return what follows an expected word. Raises `MeasuringError` when it is another one."""
        stdout = self._started[place].stdout
        assert stdout is not None
        word, _, rest = stdout.readline().rstrip("\n").partition(" ")
        if word != expected:
            raise MeasuringError(rest[:300] or f"the measuring process ended; see {self._processes.log('load')}")
        return rest

    def _start(self, place: tuple[str, int]) -> subprocess.Popen[str]:
        python, _ = place
        process = self._processes.start("load", [python, "-m", "benchmarks.store.load"], pipe=True, commanded=True)
        self._started[place] = process
        return process

    def _give_up(self, places: Sequence[tuple[str, int]], ended: threading.Event) -> None:
        if not ended.is_set():
            ended.set()
            for place in places:
                if (process := self._started.pop(place, None)) is not None:
                    process.kill()


def run_of(
    contender: Contender, case: Case, kind: Kind, documents: int, number: int, task: Task, seen: Sequence[Outcome]
) -> Run:
    """Return what all processes of a measurement saw, as one."""
    searched = list(itertools.chain.from_iterable(outcome.searched for outcome in seen))
    written = list(itertools.chain.from_iterable(outcome.written for outcome in seen))
    failures = sum((Counter(outcome.failures) for outcome in seen), Counter[str]())
    seconds = max(outcome.seconds for outcome in seen)
    loading = case.action == "load"
    timed = written if loading else searched
    p50, p95 = np.percentile(timed, (50, 95)).tolist() if timed else (None, None)
    expected = sum(outcome.expected for outcome in seen)
    done = sum(outcome.documents for outcome in seen) if loading else len(searched) + len(written)
    run = Run(
        contender=contender.name,
        case=case.name,
        kind=kind,
        documents=documents,
        round=number,
        effort=task.effort,
        per_second=done / seconds,
        p50_ms=p50,
        p95_ms=p95,
        recall=sum(outcome.right for outcome in seen) / expected if expected else None,
        wrong=sum(outcome.wrong for outcome in seen),
        calls=len(searched) + len(written),
        failed=failures.total(),
        failures=dict(failures.most_common(3)),
        # Each process saw the server's whole time; their own adds up.
        server_cores=seen[0].server_cpu / seconds,
        client_cores=sum(outcome.client_cpu for outcome in seen) / seconds,
    )
    if loading:
        run.indexed_per_second = done / (seconds + max(outcome.index_seconds for outcome in seen))
    elif written:
        run.writes_per_second = len(written) / seconds
        run.write_p50_ms = float(np.median(written))
    return run
