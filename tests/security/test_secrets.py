"""Secrets hunted in everything that comes out: answers, logs at debug, metrics, traces, process lists and files."""

import base64
import json
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.collector import Collector
from tests.live import Orrery, free_port
from tests.upstream.server import Upstream

MASTER_KEY = base64.b64encode(b"hunted-master-key-32-bytes-long!").decode()
#: What must not be found, by what it is. Those of requests go with each of them.
SECRETS = {
    "stored key": "sk-hunted-stored-2d81",
    "rotated key": "sk-hunted-rotated-93bb",
    "key of a header": "sk-hunted-header-5e0f",
    "master key": MASTER_KEY,
    "token": "hunted-operator-token-7c44-aaaaaaaaaaaaaaaaaaaa",
    "wrong token": "orrery:hunted-wrong-token-1f0a",
    "text": "hunted text about a submarine",
}
ENDPOINT = "/v1/default_keyspace/texts"


@dataclass
class Session:
    """A server, the secrets that it made, and all that came out of it while every secret was used, by where."""

    server: Orrery
    created: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    environments: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("hunted")
    metrics = {name: f"127.0.0.1:{free_port()}" for name in ("STORE", "EMBEDDER")}
    with Upstream(SECRETS["stored key"]) as upstream, Collector() as collector:
        environment = {
            **upstream.environment(),
            **{f"ORRERY_{name}_METRICS": address for name, address in metrics.items()},
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "ORRERY_MASTER_KEY": MASTER_KEY,
            "ORRERY_GATEWAY_LOG_COMMANDS": "all",
            "ORRERY_GATEWAY_LOG_ACCESS": "true",
            "ORRERY_GATEWAY_LOG_SLOW_MILLISECONDS": "0.001",
            "ORRERY_GATEWAY_LOG_SLOW_LINES_PER_SECOND": "1000000",
            "ORRERY_STORE_LOG_SLOW_MILLISECONDS": "0.001",
            "ORRERY_STORE_LOG_SLOW_LINES_PER_SECOND": "1000000",
            "ORRERY_LOG_LEVEL": "debug",
            "ORRERY_TOKEN": SECRETS["token"],
        }
        server = _Given(folder / "data", environment=environment, log=folder / "log")
        with server, httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http:
            running = Session(server)
            _use_keys(running, upstream)
            _send_requests(running, http)
            for name, address in metrics.items():
                running.outputs[f"metrics of {name.lower()}"] = http.get(f"http://{address}/metrics").text
            running.outputs["metrics of gateway"] = http.get("/metrics").text
            _look_at_processes(running)
        # After the stop: spans and lines that were still to be written are out.
        running.outputs["printed"] = "\n".join(server.lines)
        running.outputs["traces"] = "\n".join(collector.raw)
        running.outputs["log"] = (folder / "log").read_text()
        return running


class _Given(Orrery):
    """An Orrery with the token of these tests."""

    def start(self) -> None:
        self.token = self.environment["ORRERY_TOKEN"] = SECRETS["token"]
        super().start()


def _use_keys(session: Session, upstream: Upstream) -> None:
    """Store, rotate, list and audit keys by commands, and make, list and revoke a token."""
    server = session.server
    server.add_key("huggingface", "test-key", SECRETS["stored key"], "default")
    upstream.accept(SECRETS["rotated key"])
    done = [
        server.command("keys", "rotate", "huggingface", "test-key", secret=SECRETS["rotated key"]),
        server.command("keys", "add", "huggingface", "test-key", "--database", "d", secret=SECRETS["stored key"]),
        server.command("keys", "list"),
        server.command("keys", "audit"),
        server.command("tokens", "list"),
        server.command("stats"),
    ]
    session.outputs["commands"] = "\n".join(each.stdout + each.stderr for each in done)
    made = server.command("tokens", "create", "--name", "hunted", "--role", "read", "--all-databases")
    assert made.returncode == 0, made.stderr
    (secret,) = [word for word in made.stdout.split() if word.startswith("orrery:")]
    session.created["created token"] = secret


def _send_requests(session: Session, http: httpx.Client) -> None:
    """Send what succeeds and what fails, with secrets wherever callers put them."""
    answers: list[str] = []

    def send(command: object, headers: dict[str, str] | None = None, path: str = ENDPOINT) -> None:
        content = command if isinstance(command, str) else json.dumps(command)
        given = {"Token": SECRETS["token"], "Content-Type": "application/json", **(headers or {})}
        answer = http.post(path, content=content, headers=given)
        answers.append(f"{answer.headers}\n{answer.text}")

    text, by_header = SECRETS["text"], {"x-embedding-api-key": SECRETS["key of a header"]}
    service: dict[str, Any] = {
        "provider": "huggingface",
        "modelName": "sentence-transformers/all-MiniLM-L6-v2",
        "authentication": {"providerKey": "test-key"},
    }
    create = {"createCollection": {"name": "texts", "options": {"vector": {"service": service}}}}
    send(create, path="/v1/default_keyspace")
    insert = {"insertOne": {"document": {"_id": 1, "$vectorize": text}}}
    send(insert)
    send(insert)
    send(insert, by_header)
    send({"find": {"sort": {"$vectorize": text}, "projection": {"_id": 1}}})
    send({"find": {"filter": {"secret": {"$oops": text}}}}, by_header)
    send('{"find": {"filter": ' + json.dumps(text), by_header)
    send({"find": {}}, {"Token": SECRETS["wrong token"]})
    send({"find": {}}, {"Token": session.created["created token"]})
    send(insert, {"Token": session.created["created token"]})
    send({"find": {}}, {"Content-Type": "text/plain"})
    send({"findEmbeddingProviders": {}}, path="/v1")
    send({"findCollections": {"options": {"explain": True}}}, path="/v1/default_keyspace")
    # A text that its caller sent may be shown to that caller.
    session.outputs["answers"] = "\n".join(answers).replace(text, "")


def _look_at_processes(session: Session) -> None:
    """Keep the arguments of all processes, which every user of the machine can see, and the services' environments."""
    pids = {name: session.server.child(name) for name in ("store", "embedder", "gateway")}
    arguments = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (session.server.process.pid, *pids.values())]
    session.outputs["process list"] = b"\n".join(arguments).replace(b"\0", b" ").decode()
    for name, pid in pids.items():
        environment = Path(f"/proc/{pid}/environ")
        assert environment.stat().st_mode & 0o077 == 0
        session.environments[name] = environment.read_text()


PLACES = ["answers", "commands", "printed", "process list", "log", "traces"]


@pytest.mark.parametrize("place", [*PLACES, *(f"metrics of {name}" for name in ("gateway", "store", "embedder"))])
def test_no_secret_comes_out(session: Session, place: str) -> None:
    output = session.outputs[place]

    assert output
    for name, secret in {**SECRETS, **session.created}.items():
        for form in (secret, base64.b64encode(secret.encode()).decode(), urllib.parse.quote(secret)):
            assert form not in output, f"the {name} is in the {place}"


@pytest.mark.parametrize(("service", "has"), [("store", set()), ("embedder", {"master key"}), ("gateway", {"token"})])
def test_a_process_has_no_secret_in_its_environment_but_its_own(session: Session, service: str, has: set[str]) -> None:
    """Only its user can read it (/proc/PID/environ)."""
    content = session.environments[service]

    assert {name for name, secret in {**SECRETS, **session.created}.items() if secret in content} == has


def test_no_file_has_a_secret_in_clear(session: Session) -> None:
    """But for documents, which are what the store keeps."""
    kept = {name: secret for name, secret in {**SECRETS, **session.created}.items() if name != "text"}
    for path in filter(Path.is_file, session.server.data_dir.rglob("*")):
        content = path.read_bytes()
        assert [name for name, secret in kept.items() if secret.encode() in content] == [], path


def test_files_are_their_users_alone(session: Session) -> None:
    assert session.server.data_dir.stat().st_mode & 0o077 == 0
