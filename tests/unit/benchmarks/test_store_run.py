"""The store's benchmark from its start to its end, tiny, and with Orrery alone."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.machine import ROOT
from benchmarks.store.cases import Report


@pytest.mark.quick
def test_orrery_is_measured_from_start_to_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.store", "--size", "1000", "--kind", "synthetic", "--rounds", "1"]
    command += ["--only", "floor", "load", "search", "filter", "mixed", "memory"]
    command += ["--seconds", "0.3", "--warm-up", "0.1", "--contenders", "orrery-http", "orrery-grpc"]
    command += ["--data", str(tmp_path / "data"), "--json", str(tmp_path / "store.json")]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "RESULTS.md")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "protos")))},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    report = msgspec.json.decode((tmp_path / "store.json").read_bytes(), type=Report)
    assert report.problems == []
    assert {run.contender for run in report.runs} == {"orrery-http", "orrery-grpc"}
    assert sum(run.failed + run.wrong for run in report.runs) == 0
    # On a busy machine a time so short may end before the first answer.
    searched = [
        run for run in report.runs if run.case.startswith(("search", "filter", "mixed")) and run.recall is not None
    ]
    assert {run.contender for run in searched} == {"orrery-http", "orrery-grpc"}
    assert all(run.recall >= 0.9 for run in searched if run.recall is not None)
    assert report.footprints[0].store_mib
    assert "Against the targets of the store" in (tmp_path / "RESULTS.md").read_text()
