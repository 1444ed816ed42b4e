"""`orrery up` as a process: it restarts what dies, stops cleanly, keeps its data and its token."""

import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.live import Orrery


def find_keyspaces(orrery: Orrery) -> list[str]:
    """Return the keyspaces, which takes the gateway and the store."""
    response = httpx.post(
        f"{orrery.url}/v1", json={"findKeyspaces": {}}, headers={"Token": orrery.token}, timeout=30, trust_env=False
    )
    return list(response.json()["status"]["keyspaces"])


def is_ready(orrery: Orrery) -> bool:
    """Tell whether the gateway says that all services answer."""
    try:
        return httpx.get(f"{orrery.url}/health/ready", timeout=10, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def wait_for_another(orrery: Orrery, service: str, pid: int) -> int:
    """Return the process id of a service that was started again."""
    for _ in range(200):
        try:
            if (now := orrery.child(service)) != pid:
                return now
        except AssertionError:
            pass  # the old one is gone, the new one not there yet
        time.sleep(0.05)
    raise AssertionError(f"the {service} was not started again")


@pytest.mark.parametrize("service", ["store", "embedder", "gateway"])
def test_a_service_that_dies_is_started_again(tmp_path: Path, service: str) -> None:
    with Orrery(tmp_path) as orrery:
        pid = orrery.child(service)
        os.kill(pid, signal.SIGKILL)
        wait_for_another(orrery, service, pid)

        for _ in range(200):
            if is_ready(orrery):
                break
            time.sleep(0.05)
        assert is_ready(orrery)
        assert find_keyspaces(orrery) == ["default_keyspace"]


def test_ctrl_c_stops_every_process(tmp_path: Path) -> None:
    orrery = Orrery(tmp_path)
    children = [orrery.child(service) for service in ("store", "embedder", "gateway")]

    assert orrery.stop() == 0

    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_services_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    orrery = Orrery(tmp_path)
    children = [orrery.child(service) for service in ("store", "embedder", "gateway")]

    orrery.process.kill()
    orrery.process.wait()

    for _ in range(200):
        if not any(Path(f"/proc/{pid}").exists() for pid in children):
            return
        time.sleep(0.05)
    raise AssertionError("a service outlived its supervisor")


def test_data_and_the_token_survive_a_restart(tmp_path: Path) -> None:
    first = Orrery(tmp_path, own_token=True)
    (line,) = [line for line in first.lines if "token" in line]
    match = re.fullmatch(r"orrery: token (\S+) \(kept in .*\)", line)
    assert match is not None
    first.token = match[1]
    path = "/v1/default_keyspace"
    client = httpx.Client(base_url=first.url, headers={"Token": first.token}, timeout=30, trust_env=False)
    client.post(path, json={"createCollection": {"name": "kept", "options": {"vector": {"dimension": 2}}}})
    client.post(f"{path}/kept", json={"insertOne": {"document": {"_id": 1, "$vector": [1, 0.5]}}})
    assert first.stop() == 0
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600

    with Orrery(tmp_path, own_token=True) as second:
        assert first.token not in "".join(second.lines)
        find = {"find": {"sort": {"$vector": [1, 0]}, "projection": {"$vector": 1}}}
        answer = httpx.post(
            f"{second.url}{path}/kept", json=find, headers={"Token": first.token}, timeout=30, trust_env=False
        )
        assert answer.json()["data"]["documents"] == [{"_id": 1, "$vector": [1, 0.5]}]


def test_no_token_is_asked_for_where_that_was_said(tmp_path: Path) -> None:
    with Orrery(tmp_path, arguments=("--no-auth",)) as orrery:
        response = httpx.post(f"{orrery.url}/v1", json={"findKeyspaces": {}}, trust_env=False)

    assert response.status_code == 200


def orrery_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an `orrery` command that is to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        env={name: value for name, value in os.environ.items() if not name.startswith("ORRERY_")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("gateway", "--store", "unix:/x", "--embedder", "unix:/y", "--http", "0.0.0.0:1", "--no-auth"), "token"),
        (("gateway", "--store", "unix:/x", "--embedder", "unix:/y"), "ORRERY_TOKEN"),
        (("store", "--listen", "0.0.0.0:1"), "authentication"),
        (("embedder", "--listen", "192.0.2.1:1"), "authentication"),
        (("up", "--limit", "no_such=1"), "no_such"),
        (("keys", "list"), "orrery up"),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    takes_folder = arguments[0] != "gateway"
    done = orrery_command(*arguments, *(("--data-dir", str(tmp_path)) if takes_folder else ()))

    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_is_for_one_server(tmp_path: Path) -> None:
    with Orrery(tmp_path / "first") as orrery:
        address = orrery.url.removeprefix("http://")
        done = orrery_command("up", "--data-dir", str(tmp_path / "second"), "--http", address)

    assert done.returncode == 1
    assert f"cannot listen on {address}" in done.stderr
    assert "ready" not in done.stdout


def test_a_data_directory_is_for_one_store(tmp_path: Path) -> None:
    with Orrery(tmp_path):
        done = orrery_command("store", "--data-dir", str(tmp_path / "store"), "--listen", f"unix:{tmp_path}/other.sock")

    assert done.returncode != 0
    assert "in use by another store" in done.stderr
    assert "Traceback" not in done.stderr
