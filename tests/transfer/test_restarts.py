"""Services that die while a load or an import runs: they wait, and go on."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import Orrery
from tests.transfer.target import Target

ROWS = 700


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orrery]:
    """A server whose services may die without harm to other tests."""
    environment = {"ORRERY_ALLOW_PROVIDERS": "deterministic"}
    with Orrery(tmp_path_factory.mktemp("restarts"), environment=environment) as orrery:
        yield orrery


def run_while_services_die(target: Target, line: list[str], services: tuple[str, ...]) -> str:
    """Run a command, kill services under it, and return what it said at its end."""
    command = subprocess.Popen(
        line, env=target.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while target.command("estimatedDocumentCount").get("status", {}).get("count", 0) < 20 and command.poll() is None:
        time.sleep(0.02)
    for service in services:
        assert command.poll() is None, "it was over before a service was killed"
        os.kill(target.server.child(service), signal.SIGKILL)
        time.sleep(1.5)
    output, errors = command.communicate(timeout=100)
    assert command.returncode == 0, errors
    return output


def test_a_load_outlives_the_services(server: Orrery, tmp_path: Path) -> None:
    target = Target(server).create()
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"n":{number},"t":"text {number}"}}\n' for number in range(ROWS)))
    line = target.line("load", path, "--vectorize", "t", "--batch", "2", "--concurrency", "2")

    run_while_services_die(target, line, ("store", "gateway", "embedder"))

    assert sorted(document["n"] for document in target.documents()) == list(range(ROWS))


def test_an_import_outlives_the_store(server: Orrery, tmp_path: Path) -> None:
    target = Target(server).create({"dimension": 64, "metric": "euclidean"})
    path = tmp_path / "rows.jsonl"
    vector = [0.5] * 64
    path.write_text("".join(f'{{"_id":{number},"v":{vector}}}\n' for number in range(6 * ROWS)))
    assert target.run("load", path, "--vector", "v").returncode == 0
    assert target.run("export", tmp_path / "out").returncode == 0
    copy = Target(server)

    run_while_services_die(copy, copy.line("import", tmp_path / "out"), ("store",))

    assert copy.documents() == target.documents()
