"""The official clients, unmodified, against a live server with each provider: the product's own samples."""

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.access.operating import Operator
from tests.clients import toolchains
from tests.live import Orrery
from tests.upstream.server import Upstream

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

DOCUMENTS = [
    {"_id": "cake", "kind": "food", "$vectorize": "A recipe for a rich chocolate cake with dark cocoa"},
    {"_id": "orbit", "kind": "space", "$vectorize": "The probe entered orbit around Mars after a long journey"},
    {"_id": "goal", "kind": "sport", "$vectorize": "The striker scored in the last minute of the match"},
    {"_id": "lander", "kind": "space", "$vectorize": "A small robot touched down on the surface of a comet"},
]
SCENARIO = {
    "DOCUMENTS": json.dumps(DOCUMENTS),
    "QUERY": "a spacecraft arriving at another planet",
    "NEW_TEXT": "A telescope photographed a distant galaxy",
    "NEW_QUERY": "pictures of far galaxies",
}
PROVIDERS = {
    "huggingface": {"MODEL": "sentence-transformers/all-MiniLM-L6-v2", "DIMENSION": "384"},
    "jinaAI": {"MODEL": "jina-embeddings-v2-base-en", "DIMENSION": "768"},
}
CLIENTS: dict[str, tuple[Callable[[], list[str]], str]] = {
    "astrapy 1, self-hosted": (lambda: toolchains.python("python_astrapy_1"), "hcd"),
    "astrapy 2, self-hosted": (lambda: toolchains.python("python_astrapy_2"), "hcd"),
    "astrapy 2, Astra": (lambda: toolchains.python("python_astrapy_2"), "prod"),
    "typescript, self-hosted": (toolchains.typescript, "hcd"),
    "typescript, Astra": (toolchains.typescript, "astra"),
    "java 1, self-hosted": (lambda: toolchains.java("java_1"), "HCD"),
    "java 2, self-hosted": (lambda: toolchains.java("java_2"), "HCD"),
    "curl": (toolchains.curl, ""),
}


def run(command: list[str], orrery: Orrery, provider: str, environment: str, **more: str) -> list[Any]:
    """Run a sample, with variables of its own, and return the JSON lines that it printed."""
    settings = {
        **{name: value for name, value in os.environ.items() if name != "ORRERY_TOKEN"},
        **SCENARIO,
        **PROVIDERS[provider],
        "ORRERY_URL": orrery.url,
        "ORRERY_TOKEN": orrery.token,
        "PROVIDER": provider,
        "KEY_NAME": "test-key",
        "COLLECTION": f"sample_{provider}",
        "ENVIRONMENT": environment,
        **more,
    }
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def summary(lines: list[Any]) -> dict[str, Any]:
    """Return what a sample found; curl prints the answers themselves."""
    if len(lines) == 1:
        return dict(lines[0])
    found, filtered, updated, count = lines
    documents = found["data"]["documents"]
    return {
        "found": [document["_id"] for document in documents],
        "similarities": [document["$similarity"] for document in documents],
        "filtered": filtered["data"]["document"]["_id"],
        "updated": updated["data"]["document"]["_id"],
        "count": count["status"]["count"],
    }


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_inserts_text_and_finds_it_by_meaning(
    client: str, provider: str, orrery: Orrery, upstream: Upstream
) -> None:
    make, environment = CLIENTS[client]

    result = summary(run(make(), orrery, provider, environment))

    assert result["found"][:2] == ["orbit", "lander"]
    assert result["similarities"] == sorted(result["similarities"], reverse=True)
    assert all(0 < similarity <= 1 for similarity in result["similarities"])
    assert (result["filtered"], result["updated"], result["count"]) == ("cake", "cake", 3)
    assert len(upstream.requests) >= 5
    assert {request["headers"]["authorization"] for request in upstream.requests} == {f"Bearer {upstream.token}"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_langchain_keeps_its_vectors_here(provider: str, orrery: Orrery) -> None:
    (result,) = run(toolchains.python("langchain"), orrery, provider, "hcd")

    assert result["found"][:2] == ["orbit", "lander"]
    assert result["similarities"] == sorted(result["similarities"], reverse=True)
    assert (result["filtered"], result["updated"], result["count"]) == ("cake", "cake", 3)
    assert (result["diverse"][0], result["again"]) == ("orbit", "orbit")


@pytest.mark.parametrize("part", ["method", "cursor"])
def test_every_method_of_astrapys_collection(part: str, orrery: Orrery) -> None:
    program = toolchains.python("python_astrapy_2", f"every_{part}.py")

    assert run(program, orrery, "huggingface", "hcd") == [{"done": True}]


@pytest.mark.parametrize("part", ["method", "cursor", "value", "setting"])
def test_every_method_of_typescripts_collection(part: str, orrery: Orrery) -> None:
    program = toolchains.typescript(f"every_{part}.ts")

    assert run(program, orrery, "huggingface", "hcd") == [{"done": True}]


def test_databases_by_their_host_names_with_tokens_of_their_own(orrery: Orrery) -> None:
    operator = Operator(orrery)
    first, second = "first-shop", "second-shop"
    for name in (first, second):
        operator.create(name)
    places = {
        "FIRST_URL": orrery.url.replace("127.0.0.1", f"{first}.localhost"),
        "SECOND_URL": orrery.url.replace("127.0.0.1", f"{second}.localhost"),
        "NO_URL": orrery.url.replace("127.0.0.1", "none.localhost"),
        "FIRST_TOKEN": operator.token(first),
        "SECOND_TOKEN": operator.token(second),
        "READ_TOKEN": operator.token(first, role="read"),
    }
    program = toolchains.python("python_astrapy_2", "databases.py")

    (result,) = run(program, orrery, "huggingface", "hcd", **places)

    assert (result["first"], result["second"], result["read"]) == (["first"], ["second"], 30)
    assert result["keyspaces"] == [["default_keyspace", "more"], ["default_keyspace"]]
    assert result["read_only"] == [401, "UNAUTHORIZED_ACCESS"]
    assert result["wrong_database"] == result["no_database"] == [401, "UNAUTHENTICATED_REQUEST"]
    for name in (first, second):
        operator.begin_drop(name)
    operator.close()
