"""One command: start everything, measure every contender under every load, write the results."""

import argparse
import datetime
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.embedder.cases import CASES, Case, Report, Run, Task
from benchmarks.embedder.chart import draw
from benchmarks.embedder.contenders import PEERS, TITLES, Contender, Contenders
from benchmarks.embedder.report import section
from benchmarks.machine import ROOT, machine, versions
from benchmarks.processes import BUILD, StartError
from benchmarks.procfs import usage
from benchmarks.section import write_section

#: Longer than any measurement may take beyond its calls, in seconds.
_SPARE_SECONDS = 90.0
#: Whose versions the figures depend on.
_OWN_PACKAGES = ("httpx", "aiohttp", "grpcio", "numpy", "msgspec")
_PEER_PACKAGES = ("litellm", "uvicorn", "openai", "uvloop")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.embedder",
        description="Measure Orrery's embedder in front of a slow provider, beside direct calls and LiteLLM's proxy.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="in which every contender is measured once a case")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds of calls before each measurement")
    parser.add_argument("--latency", type=float, default=20.0, help="milliseconds the provider takes for a request")
    parser.add_argument(
        "--requests-per-minute", type=float, default=1200.0, help="the provider's limit in the case `limited`"
    )
    parser.add_argument("--call-seconds", type=float, default=10.0, help="that a call may take")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], default=None, help="only these")
    parser.add_argument("--contenders", nargs="+", choices=list(TITLES), default=None, help="only these")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "RESULTS.md", help="file with the section")
    parser.add_argument("--json", type=Path, default=BUILD / "embedder.json", help="file for every measurement")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the results of --json again")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _contenders(case: Case, wanted: Sequence[str]) -> list[str]:
    """Return who is measured under a case: the proxy with a cache only where texts come again."""
    return [name for name in wanted if name != "litellm-cache" or case.repeated]


def _measure(arguments: argparse.Namespace, contenders: Contenders) -> tuple[dict[str, float], list[Run]]:
    cases = [case for case in CASES if arguments.cases is None or case.name in arguments.cases]
    wanted = [name for name in TITLES if arguments.contenders is None or name in arguments.contenders]
    contenders.start_provider()
    started: dict[str, Contender] = {}
    for name in wanted:
        if any(name in _contenders(case, wanted) for case in cases):
            _say(f"starting {TITLES[name]}")
            started[name] = contenders.start(name)
    idle = {name: usage(item.pid).resident_mib for name, item in started.items() if item.pid is not None}
    runs: list[Run] = []
    for case in cases:
        for number in range(1, arguments.rounds + 1):
            for name in _contenders(case, wanted):
                run = _one(arguments, contenders, started[name], case, number)
                runs.append(run)
                _say(_progress(run, arguments.rounds))
    return idle, runs


def _one(arguments: argparse.Namespace, contenders: Contenders, contender: Contender, case: Case, number: int) -> Run:
    task = Task(
        contender=contender.name,
        speech=contender.speech,
        target=contender.target,
        key=contender.key,
        pid=contender.pid,
        provider_url=contenders.provider_url,
        provider_pid=contenders.provider_pid,
        case=case,
        round=number,
        seconds=arguments.seconds,
        warm_up_seconds=arguments.warm_up,
        call_seconds=arguments.call_seconds,
        latency_seconds=arguments.latency / 1000,
        requests_per_minute=arguments.requests_per_minute,
    )
    longest = case.stretch * arguments.seconds + arguments.warm_up + 2 * arguments.call_seconds + _SPARE_SECONDS
    return msgspec.json.decode(contenders.run_load(msgspec.json.encode(task), longest), type=Run)


def _progress(run: Run, rounds: int) -> str:
    latency = "no call succeeded" if run.p50_ms is None else f"p50 {run.p50_ms:.1f} ms, p99 {run.p99_ms:.1f} ms"
    why = f": {next(iter(run.failures))}" if run.failures else ""
    return (
        f"{run.case:<12} {run.round}/{rounds} {run.contender:<14} {run.texts_per_second:>9,.0f} texts/s, {latency}, "
        f"{run.upstream_requests} requests upstream, {run.failed} failed{why}"
    )


def main() -> int:
    """Measure and write; return the exit status."""
    arguments = _arguments()
    if not Path("/proc/self/stat").exists():
        _say("benchmark: CPU time and memory are read from /proc, which this system does not have")
        return 1
    if arguments.render:
        report = msgspec.json.decode(arguments.json.read_bytes(), type=Report)
    else:
        # Ended from outside, the processes are still ended in turn.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        begin, found = time.monotonic(), machine()
        versions_found = versions(_OWN_PACKAGES, _PEER_PACKAGES, PEERS, "benchmarks/embedder")
        try:
            with Contenders(BUILD / "logs") as contenders:
                idle, runs = _measure(arguments, contenders)
        except StartError as problem:
            _say(f"benchmark: {problem}")
            return 1
        report = Report(
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            command=" ".join(["python -m benchmarks.embedder", *sys.argv[1:]]),
            machine=found,
            versions=versions_found,
            latency_ms=arguments.latency,
            requests_per_minute=arguments.requests_per_minute,
            seconds=arguments.seconds,
            rounds=arguments.rounds,
            call_seconds=arguments.call_seconds,
            idle_mib=idle,
            runs=runs,
        )
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
        _say(f"measured in {time.monotonic() - begin:.0f} seconds")
    chart = arguments.output.parent / "embedder" / "results.svg"
    chart.parent.mkdir(parents=True, exist_ok=True)
    chart.write_text(draw(report))
    write_section(arguments.output, "embedder", section(report, "embedder/results.svg"))
    _say(f"wrote {arguments.output} and {chart}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
