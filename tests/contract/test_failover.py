"""Another endpoint of the same model is asked while a provider is down, once it was found to give the same vectors."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import FORGIVING, PROVIDER_SECRET
from tests.contract.api import Api, error_code
from tests.live import Orrery
from tests.upstream.server import Upstream

# The upstream has the same vectors for the first two; the third's are made of hashes.
CONFIG = """
requests: {attempts: 2}
failover:
  - provider: jinaAI
    model: jina-embeddings-v3
    to: [{provider: openai, model: text-embedding-3-small, key: test-key}]
  - provider: huggingface
    model: sentence-transformers/all-MiniLM-L6-v2
    to: [{provider: deterministic, model: hash}]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Orrery]:
    """A server with other endpoints for two models."""
    folder = tmp_path_factory.mktemp("failover")
    (folder / "embedder.yaml").write_text(CONFIG)
    environment = {
        **upstream.environment(),
        **FORGIVING,
        "ORRERY_EMBEDDER_CONFIG": str(folder / "embedder.yaml"),
        "ORRERY_ALLOW_PROVIDERS": "deterministic",
    }
    with Orrery(folder / "data", environment=environment) as running:
        for provider in ("jinaAI", "openai", "huggingface"):
            running.add_key(provider, "test-key", PROVIDER_SECRET, "default")
        yield running


@pytest.fixture
def client(server: Orrery) -> Iterator[Api]:
    """A client of that server, whose collection `c` is of each test alone."""
    api = Api(server.url, server.token, collection="c")
    yield api
    api.at_keyspace("deleteCollection", name="c")
    api.http.close()


def create(api: Api, provider: str, model: str, dimension: int) -> None:
    """Create the collection `c`."""
    service: dict[str, Any] = {
        "provider": provider,
        "modelName": model,
        "authentication": {"providerKey": "test-key"},
    }
    vector = {"dimension": dimension, "service": service}
    assert api.at_keyspace("createCollection", name="c", options={"vector": vector}) == {"status": {"ok": 1}}


def wait_for_comparison(upstream: Upstream, provider: str, texts: int) -> None:
    """Wait until a provider was sent the texts by which endpoints are compared."""
    for _ in range(200):
        asked = [request for request in upstream.requests if request["provider"] == provider]
        if any(len(request["body"].get("input") or request["body"].get("inputs")) == texts for request in asked):
            time.sleep(0.1)
            return
        time.sleep(0.02)
    raise AssertionError("the endpoints were not compared")


def test_the_other_endpoint_answers_with_the_same_vectors(client: Api, upstream: Upstream) -> None:
    create(client, "jinaAI", "jina-embeddings-v3", 256)
    client.run("insertOne", document={"_id": 1, "$vectorize": "a moon of Jupiter"})
    wait_for_comparison(upstream, "openai", 5)
    upstream.reset()
    upstream.behave("failing", times=2)

    answer = client.run("find", sort={"$vectorize": "a moon of Jupiter"}, options={"includeSimilarity": True})

    (document,) = answer["data"]["documents"]
    assert document["$similarity"] == pytest.approx(1, abs=1e-4)
    assert [request["provider"] for request in upstream.requests] == ["jinaAI", "jinaAI", "openai"]


def test_an_endpoint_with_other_vectors_is_never_asked(client: Api, upstream: Upstream) -> None:
    create(client, "huggingface", "sentence-transformers/all-MiniLM-L6-v2", 384)
    client.run("insertOne", document={"_id": 1, "$vectorize": "a moon of Saturn"})
    wait_for_comparison(upstream, "huggingface", 5)
    upstream.behave("failing", times=2)

    answer = client.run("find", sort={"$vectorize": "a moon of Saturn"})

    assert error_code(answer) == "EMBEDDING_PROVIDER_SERVER_ERROR"


def test_what_the_caller_did_wrong_is_not_asked_elsewhere(client: Api, upstream: Upstream) -> None:
    create(client, "jinaAI", "jina-embeddings-v3", 256)
    upstream.behave("unauthorized", times=1)

    answer = client.run("insertOne", document={"$vectorize": "a moon"})

    assert error_code(answer) == "EMBEDDING_PROVIDER_CLIENT_ERROR"
    assert len(upstream.requests) == 1
