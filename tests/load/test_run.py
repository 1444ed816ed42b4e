"""The load tests from their start to their end, so briefly that the figures mean nothing."""

import os
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from benchmarks.load.cases import CASES, GHZ, Report
from benchmarks.machine import ROOT
from tests.certificates import Certificates
from tests.services import Gateway, rpc_service

pytestmark = pytest.mark.quick


def load(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Report:
    """Run the load tests briefly, and return what they found."""
    command = [sys.executable, "-m", "benchmarks.load", "--seconds", "0.3", "--warm-up", "0.1", "--callers", "1", "4"]
    command += ["--output", str(folder / "RESULTS.md"), "--json", str(folder / "load.json"), *arguments]
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "protos")))
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
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
def test_a_deployment_is_called_by_https_and_mutual_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "certificates")
    callers = "orrery-gateway=*,load=StoreService/FindDocuments|StoreService/InsertDocuments|EmbedderService/Embed"
    of_rpc = {name: certificates.rpc(f"orrery-{name}", callers=callers) for name in ("store", "embedder")}
    of_gateway = {**certificates.rpc("orrery-gateway"), **certificates.http("gateway.example.org")}
    of_rpc["embedder"]["ORRERY_ALLOW_PROVIDERS"] = "deterministic"
    with (
        rpc_service("store", tmp_path, environment=of_rpc["store"]) as store,
        rpc_service("embedder", tmp_path, environment=of_rpc["embedder"]) as embedder,
        Gateway(tmp_path, store=store.address, embedder=embedder.address, environment=of_gateway) as gateway,
    ):
        of_caller = certificates.rpc("load")
        aim = ["--http", f"https://localhost:{gateway.port}", "--http-ca", of_caller["ORRERY_RPC_TLS_CA"]]
        aim += ["--store", f"dns:///{store.address}", "--embedder", embedder.address]
        aim += ["--embed", "deterministic", "hash"]

        report = load(tmp_path, *aim, environment={**of_caller, "ORRERY_TOKEN": gateway.token})

        tls = ssl.create_default_context(cafile=of_caller["ORRERY_RPC_TLS_CA"])
        left = gateway.post("/v1/default_keyspace", '{"findCollections":{}}', tls)
    assert {run.case for run in report.runs} == {case.name for case in CASES} - {"embed-provider"}
    assert list(report.skipped) == ["embed-provider"]
    assert all(run.calls > 0 and run.failed == 0 for run in report.runs)
    assert left == (200, '{"status":{"collections":[]}}')
    assert gateway.token not in (tmp_path / "load.json").read_text()
    assert (tmp_path / "load" / "rpc.svg").read_text().startswith("<svg")
