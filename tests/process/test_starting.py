"""Services that start in any order: the gateway waits for the store, and the store opens what was used before."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.live import free_port
from tests.services import SERVING, Gateway, Service

NOTES = {"createCollection": {"name": "notes", "options": {"vector": {"dimension": 2}}}}


def service(name: str, folder: Path) -> Service:
    """Start a store or an embedder on a unix socket, without waiting for it."""
    return Service(name, folder, "--data-dir", str(folder / name), "--listen", f"unix:{folder}/{name}.sock")


@contextmanager
def gateway(folder: Path, **environment: str) -> Iterator[tuple[Service, int]]:
    """Start a gateway on a loopback port, without waiting for it."""
    port = free_port()
    arguments = ("--http", f"127.0.0.1:{port}", "--store", f"unix:{folder}/store.sock")
    arguments += ("--embedder", f"unix:{folder}/embedder.sock", "--no-auth")
    with Service("gateway", folder, *arguments, environment=environment) as started:
        yield started, port


def ready(port: int) -> bool:
    """Tell whether a gateway says that it can serve."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        try:
            connection.request("GET", "/health/ready")
        except ConnectionRefusedError:
            return False
        return connection.getresponse().status == 200


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        ("services.cli.up", "grpc"),
        ("services.store.server", "cryptography"),
        ("services.gateway.server", "cryptography"),
        ("services.embedder.server", "botocore"),
        ("services.embedder.server", "cryptography.x509"),
    ],
)
def test_what_a_start_does_not_need_is_not_imported(module: str, unused: str) -> None:
    script = f"import sys, {module}; sys.exit({unused!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


def test_a_gateway_waits_for_a_store_that_starts_after_it(tmp_path: Path) -> None:
    with gateway(tmp_path) as (waiting, port), service("embedder", tmp_path):
        waiting.logged("waiting for the store")
        assert not ready(port)
        with service("store", tmp_path):
            waiting.logged(SERVING)
            deadline = time.monotonic() + 20
            while not ready(port):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/v1", json.dumps({"findKeyspaces": {}}), headers)
                answer = json.loads(connection.getresponse().read())
    assert answer == {"status": {"keyspaces": ["default_keyspace"]}}


def test_a_gateway_whose_store_never_comes_ends_and_says_why(tmp_path: Path) -> None:
    with gateway(tmp_path, ORRERY_GATEWAY_ACCESS_START_SECONDS="0.3") as (waiting, _):
        assert waiting.wait() == 1
    said = waiting.log.read_text()
    assert "the store did not answer within 0.3 s" in said
    assert "ORRERY_STORE" in said
    assert "Traceback" not in said


def test_a_gateway_that_waits_can_be_stopped(tmp_path: Path) -> None:
    with gateway(tmp_path) as (waiting, _):
        waiting.logged("waiting for the store")
        waiting.terminate()
        assert waiting.wait() == 0


@pytest.mark.parametrize(("collections", "opened"), [("16", '"collections": 1'), ("0", None)])
def test_a_store_opens_what_was_used_before_anybody_asks(tmp_path: Path, collections: str, opened: str | None) -> None:
    with service("store", tmp_path) as store, service("embedder", tmp_path):
        with Gateway(tmp_path, store=f"unix:{tmp_path}/store.sock", embedder=f"unix:{tmp_path}/embedder.sock") as asked:
            asked.post("/v1/default_keyspace", json.dumps(NOTES))
            asked.post("/v1/default_keyspace/notes", json.dumps({"countDocuments": {}}))
        store.terminate()
        assert store.wait() == 0
        store.log.write_text("")
        store.environment["ORRERY_STORE_WARMING_COLLECTIONS"] = collections
        store.start_again()
        if opened is not None:
            store.logged('"event": "collections opened"')
            assert opened in store.log.read_text()
        else:
            assert "collections opened" not in store.log.read_text()
