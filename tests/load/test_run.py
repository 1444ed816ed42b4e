"""The load tests from their start to their end, so briefly that the figures mean nothing."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.load.cases import CASES, GHZ, Report
from benchmarks.machine import ROOT
from tests.live import Orrery

pytestmark = pytest.mark.quick


def load(folder: Path, *arguments: str, token: str = "") -> Report:
    """Run the load tests briefly, and return what they found."""
    command = [sys.executable, "-m", "benchmarks.load", "--seconds", "0.3", "--warm-up", "0.1", "--callers", "1", "4"]
    command += ["--output", str(folder / "RESULTS.md"), "--json", str(folder / "load.json"), *arguments]
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "protos")))
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths, "ORRERY_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not token or token not in done.stderr
    return msgspec.json.decode((folder / "load.json").read_bytes(), type=Report)


def test_commands_are_called_of_servers_that_the_run_started(tmp_path: Path) -> None:
    cases = [case.name for case in CASES if case.service == "gateway"]

    report = load(tmp_path, "--cases", *cases)

    assert [(run.case, run.callers) for run in report.runs] == [(case, callers) for case in cases for callers in (1, 4)]
    assert all(run.calls > 0 and run.failed == 0 for run in report.runs)
    written = (tmp_path / "RESULTS.md").read_text()
    assert "## Load" in written and "insertMany" in written
    assert (tmp_path / "load" / "http.svg").read_text().startswith("<svg")


@pytest.mark.skipif(not GHZ.exists(), reason="ghz is not installed: `make load` does it, where Go is")
def test_rpcs_are_called_by_ghz_of_a_server_that_runs_already(tmp_path: Path, orrery: Orrery) -> None:
    folder = orrery.data_dir / "run"
    aim = ["--http", orrery.url, "--store", f"unix:{folder / 'store.sock'}", "--embedder"]
    aim += [f"unix:{folder / 'embedder.sock'}", "--embed", "deterministic", "hash"]

    report = load(tmp_path, *aim, "--cases", "embed-offline", "embed-provider", "search", "insert", token=orrery.token)

    assert {run.case for run in report.runs} == {"embed-offline", "search", "insert"}
    assert list(report.skipped) == ["embed-provider"]
    assert all(run.calls > 0 and run.failed == 0 for run in report.runs)
    assert orrery.token not in (tmp_path / "load.json").read_text()
    assert (tmp_path / "load" / "rpc.svg").read_text().startswith("<svg")
