"""SIGTERM while requests run: each service goes on until they are answered, and nothing is lost."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.certificates import Certificates
from tests.live import free_port
from tests.services import Gateway, Service, rpc_service

COLLECTION = {
    "createCollection": {
        "name": "notes",
        "options": {"vector": {"service": {"provider": "deterministic", "modelName": "hash"}}},
    }
}
CALLERS = 6


@dataclass(frozen=True)
class Running:
    store: Service
    embedder: Service
    gateway: Gateway
    health: str

    def say(self, path: str, command: object) -> dict[str, object]:
        status, answer = self.gateway.post(path, json.dumps(command))
        assert status == 200, answer
        return dict(json.loads(answer))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Store and embedder with mutual TLS, as they are on a network, and a gateway that drains for two seconds.

    Whoever stops a service starts it again.
    """
    tmp_path = tmp_path_factory.mktemp("stopping")
    certificates = Certificates(tmp_path / "certificates")
    health = f"127.0.0.1:{free_port()}"
    callers = "orrery-gateway=*"
    of_embedder = {"ORRERY_ALLOW_PROVIDERS": "deterministic", "ORRERY_HEALTH": health}
    with (
        rpc_service("store", tmp_path, environment=certificates.rpc("orrery-store", callers=callers)) as store,
        rpc_service(
            "embedder", tmp_path, environment={**certificates.rpc("orrery-embedder", callers=callers), **of_embedder}
        ) as embedder,
        Gateway(
            tmp_path,
            store=f"dns:///{store.address}",
            embedder=f"dns:///{embedder.address}",
            environment={**certificates.rpc("orrery-gateway"), "ORRERY_DRAIN_SECONDS": "2"},
        ) as gateway,
    ):
        yield Running(store, embedder, gateway, health)


def under_load(running: Running, disturb: Callable[[], None]) -> list[str]:
    """Insert texts and read them from several callers while something is done; return the ids that were acknowledged.

    Fails for any request that is not answered as it should be.
    """
    ended = threading.Event()

    def insert(caller: int) -> list[str]:
        acknowledged = []
        while not ended.is_set():
            name = f"{caller}-{len(acknowledged)}"
            document = {"_id": name, "$vectorize": f"text {name}"}
            answer = running.say("/v1/default_keyspace/notes", {"insertOne": {"document": document}})
            assert answer.get("status") == {"insertedIds": [name]}, answer
            acknowledged.append(name)
            found = running.say("/v1/default_keyspace/notes", {"findOne": {"sort": {"$vectorize": f"text {name}"}}})
            assert found.get("data", {}).get("document", {}).get("_id") == name, found  # type: ignore[attr-defined]
        return acknowledged

    assert running.say("/v1/default_keyspace", COLLECTION) == {"status": {"ok": 1}}
    running.say("/v1/default_keyspace/notes", {"deleteMany": {}})
    with ThreadPoolExecutor(CALLERS) as threads:
        work = [threads.submit(insert, caller) for caller in range(CALLERS)]
        time.sleep(1)
        try:
            disturb()
            time.sleep(1)
        finally:
            ended.set()
        return [name for each in work for name in each.result()]


@pytest.mark.parametrize("name", ["store", "embedder"])
def test_a_service_that_is_restarted_under_load_loses_nothing(running: Running, name: str) -> None:
    service: Service = getattr(running, name)

    def restart() -> None:
        for _ in range(2):
            service.terminate()
            assert service.wait() == 0
            service.start_again()

    acknowledged = under_load(running, restart)

    assert len(acknowledged) > CALLERS
    counted = running.say("/v1/default_keyspace/notes", {"countDocuments": {}})
    assert counted["status"]["count"] == len(acknowledged) or counted["status"]["moreData"]  # type: ignore[index]


def test_a_probe_sees_that_a_service_stops_before_it_has(running: Running) -> None:
    with grpc.insecure_channel(running.health) as channel:
        states = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        running.embedder.terminate()
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert running.embedder.wait() == 0
    running.embedder.start_again()


def test_a_gateway_that_stops_says_so_first_and_answers_all_it_is_asked(running: Running) -> None:
    """Callers go away when it is not ready, as those behind a load balancer do, and no request of theirs fails."""
    gateway = running.gateway
    left = threading.Event()
    closing_answers: list[bool] = []

    def call() -> int:
        answers = 0
        while not left.is_set():
            with closing(gateway.connect()) as connection:
                told_to_close = False
                while not left.is_set() and not told_to_close:
                    answer = ask(gateway, connection)
                    assert answer.status == 200
                    answers += 1
                    told_to_close = answer.getheader("Connection") == "close"
                    closing_answers.append(told_to_close)
        return answers

    with ThreadPoolExecutor(CALLERS) as threads:
        work = [threads.submit(call) for _ in range(CALLERS)]
        time.sleep(0.5)
        gateway.terminate()
        while True:
            with closing(gateway.connect()) as connection:
                connection.request("GET", "/health/ready")
                if connection.getresponse().status == 503:
                    break
        with closing(gateway.connect()) as connection:
            connection.request("GET", "/health/live")
            assert connection.getresponse().status == 200
        time.sleep(0.5)
        left.set()
        assert all(each.result() > 0 for each in work)
    assert True in closing_answers
    assert gateway.wait() == 0
    gateway.start_again()


def test_a_request_that_has_begun_is_answered_after_the_drain(running: Running) -> None:
    gateway, body = running.gateway, b'{"findKeyspaces":{}}'
    head = f"POST /v1 HTTP/1.1\r\nHost: a\r\nToken: {gateway.token}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:5])
        gateway.terminate()
        gateway.logged('"event": "draining"')
        time.sleep(3)
        connection.sendall(body[5:])
        heard = b""
        while part := connection.recv(65536):
            heard += part
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert b"default_keyspace" in heard
    assert gateway.wait() == 0
    gateway.start_again()


def ask(gateway: Gateway, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    headers = {"Token": gateway.token, "Content-Type": "application/json"}
    connection.request("POST", "/v1", '{"findKeyspaces":{}}', headers)
    answer = connection.getresponse()
    answer.read()
    return answer
