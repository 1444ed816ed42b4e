"""Everything that is measured with one kind of data: servers started, loaded, asked in turns, and stopped."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks.processes import Processes, StartError
from benchmarks.store.cases import (
    EFFORT,
    FILTERED,
    FLOORS,
    LOADS,
    MIXED,
    MIXED_WRITES,
    RECALL,
    ROUND_DOCUMENTS,
    SEARCHES,
    WHOLE,
    Action,
    Case,
    Footprint,
    Part,
    Problem,
    Report,
    Restart,
    Run,
    Target,
    Task,
)
from benchmarks.store.contenders import SERVED, Contender
from benchmarks.store.dataset import FILTERS, Kind, opened
from benchmarks.store.measuring import Measuring, MeasuringError, run_of
from benchmarks.store.servers import Server

#: Collections: of everything that is searched, and of what is loaded in a round and dropped again.
_WHOLE, _ROUND = "whole", "passing"
#: How long choosing an effort asks with each, and how long one that was restarted is asked.
_TUNING_SECONDS, _RESTART_SECONDS = 0.4, 120.0
#: Searches before memory is looked at, enough to touch most of an index.
_FOOTPRINT_SECONDS = 1.0


@dataclass(frozen=True)
class Plan:
    """What is to be measured with some data."""

    kind: Kind
    data: Path
    sizes: Sequence[int]
    """How large the collection is, one after the other; the last is the one that most is measured with."""
    parts: frozenset[Part]
    contenders: Sequence[Contender]
    rounds: int
    seconds: float
    warm_up: float


@dataclass
class Phase:
    """A plan under way. What cannot be measured is told in the report, and the rest goes on."""

    plan: Plan
    report: Report
    processes: Processes
    say: Callable[[str], None]
    _servers: dict[type[Server], Server] = field(default_factory=dict)
    _efforts: dict[tuple[str, str], float] = field(default_factory=dict)
    """Of a contender in a category."""
    _out: set[str] = field(default_factory=set)
    """Contenders that failed at what all the rest depends on."""
    _written: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """Measure everything."""
        self._measuring = Measuring(self.processes)
        try:
            self._start()
            parts = self.plan.parts
            if "floor" in parts:
                self._rounds(FLOORS, [one for one in self._present() if one.server and one.mixes])
            if "load" in parts:
                self._passing_loads()
            if parts - {"floor", "load"}:
                for size in self.plan.sizes:
                    self._grow(size)
                    self._tune(size)
                    # The last size is measured in every round by the search itself.
                    if "growth" in parts and (size != self.plan.sizes[-1] or "search" not in parts):
                        self._rounds(SEARCHES, [one for one in self._present() if one.name in SERVED], size, once=True)
                self._searched()
            elif "load" in parts:
                self._grow(self.plan.sizes[-1])
        finally:
            for server in self._servers.values():
                server.stop()

    def _searched(self) -> None:
        parts, size = self.plan.parts, self.plan.sizes[-1]
        if "search" in parts:
            self._rounds(SEARCHES, self._present(), size)
        if "filter" in parts:
            self._rounds(FILTERED, [one for one in self._present() if one.loads], size)
        if "effort" in parts:
            self._curve(size)
        if "memory" in parts:
            self._footprints(size)
        if "mixed" in parts:
            self._rounds([MIXED], [one for one in self._present() if one.mixes], size)
        if "restart" in parts:
            self._restarts(size)

    # --- servers ---

    def _start(self) -> None:
        for contender in self.plan.contenders:
            kind = contender.server
            if kind is None or kind in self._servers:
                continue
            with self._attempt(contender, "its start"):
                self.say(f"starting {kind.name}")
                server = kind(self.processes)
                server.start()
                self._servers[kind] = server

    def _present(self) -> list[Contender]:
        """Return the contenders that can be measured."""
        return [
            contender
            for contender in self.plan.contenders
            if contender.name not in self._out and (contender.server is None or contender.server in self._servers)
        ]

    def _loaders(self) -> list[Contender]:
        """Return one contender for each server, and each that has none: what one has loaded others of it find."""
        first: dict[object, Contender] = {}
        for contender in self._present():
            if contender.loads:
                first.setdefault(contender.server or contender.name, contender)
        return list(first.values())

    def _target(self, contender: Contender, size: int) -> Target:
        if contender.server is not None:
            return self._servers[contender.server].target(contender.speech)
        return Target(contender.speech, str(self.plan.data / f"{contender.name}-{size}.index"))

    @contextmanager
    def _attempt(self, contender: Contender, what: str, needed: bool = True) -> Iterator[None]:
        """Go on when something fails, with or without the contender."""
        try:
            yield
        except (MeasuringError, StartError) as problem:
            self.say(f"{contender.title}: {what} failed: {problem}")
            self.report.problems.append(Problem(contender.name, what, str(problem)))
            if needed:
                self._out.add(contender.name)

    # --- tasks ---

    def _task(
        self, contender: Contender, action: Action, size: int, collection: str = _WHOLE, category: str = ""
    ) -> Task:
        searches = action in ("search", "mixed", "restart")
        return Task(
            target=self._target(contender, size),
            action=action,
            data=str(self.plan.data),
            collection=collection,
            documents=size,
            category=category,
            effort=self._efforts.get((contender.name, category)) if searches else None,
            seconds=self.plan.seconds,
            warm_up=self.plan.warm_up,
        )

    def _rounds(
        self, cases: Sequence[Case], contenders: Sequence[Contender], size: int = 0, once: bool = False
    ) -> None:
        """Measure cases in rounds; in each, the contenders take turns."""
        for case in cases:
            for number in range(1, (1 if once else self.plan.rounds) + 1):
                for contender in contenders:
                    with self._attempt(contender, case.title, needed=False):
                        task = self._task(contender, case.action, size, category=case.category)
                        task.clients = case.clients
                        if case.action == "mixed":
                            task.first = self._reserved(contender)
                        self._measure(contender, case, task, number)

    def _reserved(self, contender: Contender) -> int:
        """Return where in the reserve nothing was written to the contender's server yet."""
        server = contender.server.name if contender.server else contender.name
        first = self._written.get(server, 0)
        self._written[server] = first + 2 * MIXED_WRITES
        return first

    def _measure(self, contender: Contender, case: Case, task: Task, number: int) -> Run:
        seen = self._measuring.run(contender, task)
        run = run_of(contender, case, self.plan.kind, task.documents, number, task, seen)
        self.report.runs.append(run)
        self.say(_progress(run, contender))
        return run

    # --- loading ---

    def _passing_loads(self) -> None:
        """Load a part of the data into collections that are dropped again, in rounds."""
        count = min(ROUND_DOCUMENTS, self.plan.sizes[-1])
        for case in LOADS:
            for number in range(1, self.plan.rounds + 1):
                for contender in self._present():
                    if not contender.loads or contender.server is None:
                        continue
                    with self._attempt(contender, case.title, needed=False):
                        self._load(contender, case, 0, count, number, _ROUND)
                        self._measuring.run(contender, self._task(contender, "drop", count, _ROUND))

    def _grow(self, size: int) -> None:
        """Load what the collection lacks to be of a size."""
        number = self.plan.sizes.index(size)
        before = self.plan.sizes[number - 1] if number else 0
        for contender in self._loaders():
            with self._attempt(contender, "the load of the collection"):
                if contender.server is not None:
                    self._load(contender, WHOLE, before, size, 1, _WHOLE)
                else:
                    self._build(contender, size)

    def _build(self, contender: Contender, size: int) -> None:
        """Build a library's index; one that is kept is not built again, and its figure is the one of its building."""
        path = self.plan.data / f"{contender.name}-{size}.json"
        if path.exists():
            self.report.runs.append(msgspec.json.decode(path.read_bytes(), type=Run))
            return
        self._load(contender, WHOLE, 0, size, 1, _WHOLE)
        path.write_bytes(msgspec.json.encode(self.report.runs[-1]))

    def _load(self, contender: Contender, case: Case, first: int, size: int, number: int, collection: str) -> None:
        if first == 0:
            self._measuring.run(contender, self._task(contender, "create", size, collection))
        task = self._task(contender, "load", size, collection)
        task.clients, task.first = case.clients, first
        self._measure(contender, case, task, number)

    # --- searching ---

    def _tune(self, size: int) -> None:
        """Find the least effort that reaches the recall, for those who are told one, with queries of its own.

        A filter may need another one: it is looked for where filters will be measured.
        """
        narrowed = "filter" in self.plan.parts and size == self.plan.sizes[-1]
        for contender in self._present():
            if contender.tuned:
                with self._attempt(contender, "the choice of its effort"):
                    for category in FILTERS if narrowed else ("",):
                        self._efforts[contender.name, category] = self._least(contender, category, size)

    def _least(self, contender: Contender, category: str, size: int) -> float:
        effort = recall = 0.0
        for effort in contender.efforts:
            if category and effort < self._efforts[contender.name, ""]:
                continue
            task = self._task(contender, "search", size)
            task.category, task.effort, task.tuning = category, effort, True
            task.seconds, task.warm_up = _TUNING_SECONDS, 0
            seen = self._measuring.run(contender, task)
            recall = sum(one.right for one in seen) / max(1, sum(one.expected for one in seen))
            if recall >= RECALL:
                break
        where = f" of category {category}" if category else ""
        self.say(f"{contender.title} reaches {recall:.4f} of {size:,} documents{where} with effort {effort:g}")
        return effort

    def _curve(self, size: int) -> None:
        """Measure throughput and recall with every effort that can be set, and as it is where none can."""
        for contender in self._present():
            if contender.name in ("astrapy", "faiss-flat"):
                continue
            for effort in contender.efforts or (None,):
                with self._attempt(contender, f"effort {effort}", needed=False):
                    if contender.name.startswith("orrery") and effort is not None:
                        self._restarted(contender, effort)
                    task = self._task(contender, "search", size)
                    task.clients, task.effort = EFFORT.clients, effort
                    self._measure(contender, EFFORT, task, 1)
            if contender.name.startswith("orrery") and contender.efforts:
                self._restarted(contender, None)

    def _restarted(self, contender: Contender, effort: float | None) -> None:
        assert contender.server is not None
        server = self._servers[contender.server]
        server.stop()
        server.resume(effort)

    # --- what it takes ---

    def _footprints(self, size: int) -> None:
        for contender in self._loaders():
            if contender.server is None:
                continue
            server = self._servers[contender.server]
            # Taken between the warm-up and the search: PostgreSQL's buffers count for whoever has touched them, and
            # that is processes which end with their connections.
            with self._attempt(contender, "its memory", needed=False):
                task = self._task(contender, "search", size)
                task.clients = EFFORT.clients
                task.warm_up = max(task.warm_up, _FOOTPRINT_SECONDS)
                self._measuring.run(contender, task, between=functools.partial(self._footprint, server, size))

    def _footprint(self, server: Server, size: int) -> None:
        memory, store = server.memory_mib()
        idle, store_idle = server.idle_mib
        self.report.footprints.append(
            Footprint(
                server=server.name,
                kind=self.plan.kind,
                documents=size,
                idle_mib=idle,
                memory_mib=memory,
                store_idle_mib=store_idle,
                store_mib=store,
                disk_mib=server.disk_mib(),
            )
        )

    def _restarts(self, size: int) -> None:
        for _ in range(self.plan.rounds):
            for contender in self._loaders():
                if contender.server is not None:
                    with self._attempt(contender, "its restart"):
                        self._restart(contender, self._servers[contender.server], size)

    def _restart(self, contender: Contender, server: Server, size: int) -> None:
        stopped = 0.0

        def start() -> None:
            nonlocal stopped
            stopped = server.stop()
            server.launch()

        task = self._task(contender, "restart", size)
        task.seconds = _RESTART_SECONDS
        outcome = self._measuring.run(contender, task, between=start)[0]
        seconds = outcome.seconds if outcome.searched else None
        self.report.restarts.append(Restart(server.name, self.plan.kind, size, stopped, seconds))
        self.say(f"{server.name} restarted: {seconds} s, stopped in {stopped:.1f} s; before: {outcome.failures}")


def data_of(path: Path) -> str:
    """Return what a reader of the results has to know of some data."""
    manifest = opened(path).manifest
    rate = "" if manifest.embedded_per_second is None else f", embedded at {manifest.embedded_per_second:.0f} a second"
    source = "synthetic vectors" if manifest.kind == "synthetic" else f"of {manifest.sentences:,} sentences{rate}"
    return f"{manifest.documents:,} documents, {source}; SHA-256 of the vectors {manifest.sha256[:16]}"


def _progress(run: Run, contender: Contender) -> str:
    latency = "no answer" if run.p50_ms is None else f"p50 {run.p50_ms:.2f} ms"
    recall = "" if run.recall is None else f", recall {run.recall:.4f}"
    indexed = "" if run.indexed_per_second is None else f", indexed {run.indexed_per_second:,.0f}/s"
    trouble = f", {run.failed} failed {run.failures}" if run.failed else ""
    wrong = f", {run.wrong} wrong" if run.wrong else ""
    cores = f"[cores: server {run.server_cores:.2f}, client {run.client_cores:.2f}]"
    return (
        f"{run.kind} {run.documents:>7,} {run.case:<12} {run.round} {contender.title:<16} {run.per_second:>9,.1f}/s, "
        f"{latency}{recall}{indexed}{wrong}{trouble} {cores}"
    )
