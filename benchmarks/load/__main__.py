"""One command: start servers or aim at a deployment, call them by more and more callers, write the results."""

import argparse
import asyncio
import contextlib
import datetime
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.load import ghz
from benchmarks.load.cases import BUILD, CASES, Report, load_thresholds, missed, runs_of, too_many_errors
from benchmarks.load.chart import draw
from benchmarks.load.measuring import Plan, measure, unreachable
from benchmarks.load.report import section
from benchmarks.load.target import Certificates, Target, own_servers
from benchmarks.machine import ROOT, machine, versions
from benchmarks.processes import StartError
from benchmarks.section import write_section
from benchmarks.store.clients import CallFailedError

_PACKAGES = ("grpcio", "httptools", "aiohttp", "numpy")
#: What the three PEM files of mutual TLS are given by, as the services take them.
_TLS_VARIABLES = ("ORRERY_RPC_TLS_CA", "ORRERY_RPC_TLS_CERT", "ORRERY_RPC_TLS_KEY")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description="Load tests of Orrery: of servers that are started for them or, with --http, of a deployment.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds of calls before the first of a case")
    parser.add_argument("--callers", type=int, nargs="+", default=None, help="numbers of callers, in turn")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], default=None, help="only these")
    parser.add_argument("--strict", action="store_true", help="fail for a missed p99 or rate as well, not only errors")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "RESULTS.md", help="file with the section")
    parser.add_argument("--json", type=Path, default=BUILD / "load.json", help="file for every measurement")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the results of --json again")
    aim = parser.add_argument_group(
        "a deployment",
        "It gets collections of names of its own, which are dropped afterwards. The token is taken from ORRERY_TOKEN; "
        f"{', '.join(_TLS_VARIABLES)} (PEM files) make the RPCs mutual TLS.",
    )
    aim.add_argument("--http", help="URL of its gateway, such as https://data.example.org")
    aim.add_argument("--http-ca", type=Path, help="PEM file of who signed the gateway's certificate")
    aim.add_argument("--store", help="gRPC target of its store; without it, search and insert are left out")
    aim.add_argument("--embedder", help="gRPC target of its embedder")
    aim.add_argument("--embed", nargs=2, metavar=("PROVIDER", "MODEL"), help="what its embedder is asked with")
    aim.add_argument("--embed-key", help="name of the provider key that is stored there; none where none is needed")
    aim.add_argument("--database", default="default", help="of the RPCs; the gateway's URL must lead to the same")
    aim.add_argument("--keyspace", default="default_keyspace", help="that exists there")
    arguments = parser.parse_args()
    if arguments.http is None and (arguments.store or arguments.embedder):
        parser.error("--store and --embedder need --http: collections are made through the gateway")
    if arguments.embedder and not arguments.embed:
        parser.error("--embedder needs --embed: provider and model to ask it with")
    return arguments


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _target(arguments: argparse.Namespace) -> Iterator[Target]:
    if arguments.http is None:
        with own_servers(BUILD / "logs") as target:
            yield target
        return
    yield Target(
        f"the deployment at {arguments.http}"
        + (f", its embedder with {' '.join(arguments.embed)}" if arguments.embedder else ""),
        arguments.http.rstrip("/"),
        os.environ.get("ORRERY_TOKEN", ""),
        arguments.store,
        arguments.embedder,
        arguments.database,
        arguments.keyspace,
        _certificates(),
        arguments.http_ca,
        _embedding_service(arguments),
    )


def _embedding_service(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Return the `Service` that a deployment's embedder is asked with; None where it is not asked."""
    if arguments.embed is None:
        return None
    provider, model = arguments.embed
    authentication = {"providerKey": arguments.embed_key} if arguments.embed_key else {}
    return {"provider": provider, "model": model, "authentication": authentication}


def _certificates() -> Certificates | None:
    """Return the files of mutual TLS; None where no variable names them. Raises `ValueError` where only some do."""
    paths = [os.environ.get(name, "") for name in _TLS_VARIABLES]
    if not any(paths):
        return None
    if not all(paths):
        raise ValueError(f"set all of {', '.join(_TLS_VARIABLES)}, or none")
    return Certificates(*map(Path, paths))


def _measure(arguments: argparse.Namespace) -> Report:
    thresholds = load_thresholds()
    callers = arguments.callers or thresholds.callers
    chosen = [case for case in CASES if arguments.cases is None or case.name in arguments.cases]
    tools = {"ghz": ghz.version()} if any(case.service != "gateway" for case in chosen) else {}
    with _target(arguments) as target:
        skipped = {case.name: why for case in chosen if (why := unreachable(case, target)) is not None}
        cases = [case for case in chosen if case.name not in skipped]
        found = machine()
        plan = Plan(cases, callers, arguments.seconds, arguments.warm_up)
        runs = asyncio.run(measure(plan, target, _say))
        title = target.title
    return Report(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=" ".join(["python -m benchmarks.load", *sys.argv[1:]]),
        machine=found,
        versions=versions(_PACKAGES, (), BUILD, "benchmarks/load") | tools,
        target=title,
        seconds=arguments.seconds,
        thresholds=thresholds,
        skipped=skipped,
        runs=runs,
    )


def _pictures(report: Report, folder: Path) -> dict[str, str]:
    """Draw what there are figures for, and return the paths by what they show."""
    found: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    rpc, http = ([case for case in CASES if (case.service == "gateway") == by_http] for by_http in (False, True))
    for name, title, cases in (("rpc", "RPCs by callers", rpc), ("http", "The Data API by callers", http)):
        if any(runs_of(report, case) for case in cases):
            (folder / f"{name}.svg").write_text(draw(report, cases))
            found[title] = f"{folder.name}/{name}.svg"
    return found


def _verdict(report: Report, strict: bool) -> int:
    """Say what the thresholds make of a run, and return the exit status."""
    failed = False
    for case in CASES:
        runs, threshold = runs_of(report, case), report.thresholds.cases.get(case.name)
        if runs and too_many_errors(runs, report.thresholds):
            _say(f"load: {case.name}: more calls failed than {report.thresholds.error_share:.0%}")
            failed = True
        if runs and threshold is not None and (not_met := missed(runs, threshold)):
            _say(f"load: {case.name}: not met: {' and '.join(not_met)}")
            failed = failed or strict
    return int(failed)


def main() -> int:
    """Measure and write; return the exit status: 1 where calls failed, or with --strict a threshold is missed."""
    arguments = _arguments()
    if arguments.render:
        report = msgspec.json.decode(arguments.json.read_bytes(), type=Report)
    else:
        # Ended from outside, the processes are still ended in turn.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        begin = time.monotonic()
        try:
            report = _measure(arguments)
        except (CallFailedError, StartError, ValueError) as problem:
            _say(f"load: {problem}")
            return 1
        _say(f"measured in {time.monotonic() - begin:.0f} seconds")
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    pictures = _pictures(report, arguments.output.parent / "load")
    write_section(arguments.output, "load", section(report, pictures))
    _say(f"wrote {arguments.output}")
    return _verdict(report, arguments.strict)


if __name__ == "__main__":
    sys.exit(main())
