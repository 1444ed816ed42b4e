"""What an operator and a collection can settle about embedding: cache, texts that are too long, budgets, failures."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import PROVIDER_SECRET
from tests.contract.api import Api, error_code
from tests.live import Orrery, free_port
from tests.upstream.server import Upstream

SERVICE = {
    "provider": "jinaAI",
    "modelName": "jina-embeddings-v3",
    "authentication": {"providerKey": "test-key"},
}
CONFIG = """
breaker: {failures: 4, first_seconds: 0.3}
requests: {attempts: 2}
budgets:
  - {provider: openai, period: day, tokens: 60, warn_at: 0.5}
"""


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[tuple[Orrery, str]]:
    """A server of this file alone with a cache, a budget and a quick breaker; and the address of its metrics."""
    folder = tmp_path_factory.mktemp("settled")
    (folder / "embedder.yaml").write_text(CONFIG)
    metrics = f"127.0.0.1:{free_port()}"
    environment = {
        **upstream.environment(),
        "ORRERY_EMBEDDER_CONFIG": str(folder / "embedder.yaml"),
        "ORRERY_EMBEDDER_METRICS": metrics,
    }
    with Orrery(folder / "data", environment=environment) as server:
        for provider in ("jinaAI", "openai", "huggingface"):
            server.add_key(provider, "test-key", PROVIDER_SECRET, "default")
        yield server, f"http://{metrics}/metrics"


@pytest.fixture
def client(settled: tuple[Orrery, str]) -> Iterator[Api]:
    """A client of that server, whose collection `c` is of each test alone."""
    api = Api(settled[0].url, settled[0].token, collection="c")
    yield api
    api.at_keyspace("deleteCollection", name="c")
    api.http.close()


def create(api: Api, parameters: dict[str, Any] | None = None, **changes: Any) -> None:
    """Create the collection `c`."""
    service = {**SERVICE, **({"parameters": parameters} if parameters else {}), **changes}
    created = api.at_keyspace("createCollection", name="c", options={"vector": {"dimension": 64, "service": service}})
    assert created == {"status": {"ok": 1}}


# --- cache ------------------------------------------------------------------


def test_a_text_is_asked_for_once(client: Api, upstream: Upstream) -> None:
    create(client)
    for number in range(3):
        client.run("insertOne", document={"_id": number, "$vectorize": "a text that comes again"})
    found = client.run("find", sort={"$vectorize": "a text that comes again"}, options={"includeSimilarity": True})

    assert [round(document["$similarity"], 4) for document in found["data"]["documents"]] == [1, 1, 1]
    assert len(upstream.requests) == 1


def test_a_request_may_go_without_the_cache(client: Api, upstream: Upstream) -> None:
    create(client)
    for _ in range(2):
        client.run("insertOne", document={"$vectorize": "asked each time"}, headers={"X-Embedding-Cache": "off"})

    assert len(upstream.requests) == 2


def test_a_collection_may_go_without_the_cache(client: Api, upstream: Upstream) -> None:
    create(client, {"cache": False})
    for _ in range(2):
        client.run("insertOne", document={"$vectorize": "a collection's own"})

    assert len(upstream.requests) == 2
    assert "cache" not in upstream.requests[0]["body"]


def test_a_recorded_cache_answers_without_a_provider_and_refuses_the_rest(tmp_path: Path, upstream: Upstream) -> None:
    file = str(tmp_path / "recorded.db")
    recording = {**upstream.environment(), "ORRERY_EMBEDDER_CACHE_FILE": file}
    with Orrery(tmp_path / "data", environment=recording) as server:
        server.add_key("jinaAI", "test-key", PROVIDER_SECRET, "default")
        api = Api(server.url, server.token, collection="c")
        create(api)
        api.run("insertOne", document={"_id": 1, "$vectorize": "recorded"})
    upstream.reset()
    with Orrery(tmp_path / "data", environment={**recording, "ORRERY_EMBEDDER_CACHE_MODE": "recorded"}) as server:
        api = Api(server.url, server.token, collection="c")

        assert api.found(sort={"$vectorize": "recorded"}) == [1]
        refused = api.run("find", sort={"$vectorize": "never recorded"})
        assert error_code(refused) == "EMBEDDING_PROVIDER_UNAVAILABLE"
        assert "recorded cache" in refused["errors"][0]["message"]
        assert upstream.requests == []


# --- texts that are refused -------------------------------------------------


def test_the_text_that_a_provider_refuses_is_named_and_nothing_written(client: Api, upstream: Upstream) -> None:
    create(client)
    upstream.refuse("poison")
    documents = [{"_id": n, "$vectorize": f"text {n}"} for n in range(9)]
    documents[6]["$vectorize"] = "a poison text"

    answer = client.run("insertMany", documents=documents)

    assert error_code(answer) == "EMBEDDING_PROVIDER_CLIENT_ERROR"
    assert "text 7 of 9" in answer["errors"][0]["message"]
    assert client.count() == 0


def test_whoever_says_that_order_does_not_matter_gets_the_rest(client: Api, upstream: Upstream) -> None:
    create(client)
    upstream.refuse("poison")
    documents = [{"_id": n, "$vectorize": f"word {n}"} for n in range(9)]
    documents[6]["$vectorize"] = "a poison word"

    answer = client.run("insertMany", documents=documents, options={"ordered": False})

    assert answer["status"]["insertedIds"] == [0, 1, 2, 3, 4, 5, 7, 8]
    assert error_code(answer) == "EMBEDDING_PROVIDER_CLIENT_ERROR"
    assert answer["errors"][0]["documentIds"] == [6]
    assert client.count() == 8


def test_a_text_that_is_too_long_is_cut_where_the_collection_says_so(client: Api, upstream: Upstream) -> None:
    create(client, {"onTooLong": "truncate"})
    upstream.refuse_longer_than(200)

    answer = client.run(
        "insertMany", documents=[{"_id": 1, "$vectorize": "short"}, {"_id": 2, "$vectorize": "w " * 300}]
    )

    assert answer["status"]["insertedIds"] == [1, 2]
    (warning,) = answer["status"]["warnings"]
    assert (warning["errorCode"], warning["scope"]) == ("EMBEDDING_TEXT_TRUNCATED", "WARNING")
    assert "Text 2 of 2" in warning["message"]
    assert client.stored(2, projection={"$vectorize": 1})["$vectorize"] == "w " * 300


def test_a_text_that_is_too_long_is_an_error_by_default(client: Api, upstream: Upstream) -> None:
    create(client)
    upstream.refuse_longer_than(200)

    assert error_code(client.run("insertOne", document={"$vectorize": "v " * 300})) == "EMBEDDING_PROVIDER_CLIENT_ERROR"


@pytest.mark.parametrize("parameters", [{"onTooLong": "cut"}, {"onTooLong": 1}, {"cache": "no"}])
def test_bad_values_of_these_parameters_are_refused(client: Api, parameters: dict[str, Any]) -> None:
    service = {**SERVICE, "parameters": parameters}
    answer = client.at_keyspace("createCollection", name="c", options={"vector": {"service": service}})

    assert error_code(answer) == "INVALID_CREATE_COLLECTION_OPTIONS"
    assert next(iter(parameters)) in answer["errors"][0]["message"]


# --- budgets, and a provider that is down -----------------------------------


def test_a_budget_warns_and_then_refuses_before_the_provider_is_asked(client: Api, upstream: Upstream) -> None:
    create(client, provider="openai", modelName="text-embedding-3-small")
    answers = [client.run("insertOne", document={"$vectorize": f"budget {n} of the day"}) for n in range(16)]

    warned = [answer for answer in answers if "warnings" in answer.get("status", {})]
    refused = [answer for answer in answers if "errors" in answer]
    assert {warning["errorCode"] for answer in warned for warning in answer["status"]["warnings"]} == {
        "EMBEDDING_BUDGET_NEARLY_SPENT"
    }
    assert {error_code(answer) for answer in refused} == {"EMBEDDING_GATEWAY_RATE_LIMITED"}
    assert "60 tokens" in refused[0]["errors"][0]["message"]
    assert len(upstream.requests) == 16 - len(refused)


def test_a_provider_that_is_down_is_left_alone_for_a_while(client: Api, upstream: Upstream) -> None:
    huggingface = {"provider": "huggingface", "modelName": "sentence-transformers/all-MiniLM-L6-v2"}
    service = {**huggingface, "authentication": {"providerKey": "test-key"}}
    client.at_keyspace("createCollection", name="c", options={"vector": {"service": service}})
    upstream.behave("failing", times=50)
    codes = [error_code(client.run("insertOne", document={"$vectorize": f"down {n}"})) for n in range(5)]

    assert codes[0] == "EMBEDDING_PROVIDER_SERVER_ERROR"
    assert codes[-1] == "EMBEDDING_PROVIDER_UNAVAILABLE"
    assert len(upstream.requests) == 4
    upstream.reset()
    for _ in range(100):
        if "errors" not in client.run("insertOne", document={"$vectorize": "up again"}):
            break
        time.sleep(0.05)
    assert client.count() == 1


# --- metrics ----------------------------------------------------------------


def test_metrics_tell_what_was_asked_and_never_a_secret(client: Api, settled: tuple[Orrery, str]) -> None:
    create(client)
    client.run("insertOne", document={"$vectorize": "a family recipe"})

    text = httpx.get(settled[1], trust_env=False).text

    labels = 'database="default",key="test-key",model="jina-embeddings-v3",provider="jinaAI"'
    assert f"orrery_embedder_texts_total{{{labels}}}" in text
    assert 'orrery_embedder_requests_total{model="jina-embeddings-v3",outcome="OK",provider="jinaAI"}' in text
    assert PROVIDER_SECRET not in text
    assert "recipe" not in text
