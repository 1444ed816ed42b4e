"""What the Data API answers when a service behind it, or what an operator configured, fails."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.contract.api import Api, error_code
from tests.live import Orrery

LOCAL = {"provider": "local", "modelName": "sentence-transformers/all-MiniLM-L6-v2"}

#: Providers of an operator: one with models of every state, one whose host is not there.
PROVIDERS = """
providers:
  - id: house
    display_name: House
    wire: openai
    url: http://127.0.0.1:9/v1/embeddings
    authentication: {header: true, shared_secret: true}
    models:
      - {name: current, dimension: 3}
      - {name: old, dimension: 3, status: DEPRECATED, status_message: take current}
      - {name: ancient, dimension: 3, status: END_OF_LIFE, status_message: gone since May}
  - id: nowhere
    display_name: Nowhere
    wire: openai
    url: http://no-such-host.invalid/v1/embeddings
    authentication: {none: true, header: true}
    models:
      - {name: current, dimension: 3}
"""


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orrery]:
    """A server of this file alone: impatient, and with the operator's providers."""
    folder = tmp_path_factory.mktemp("fragile")
    (folder / "providers.yaml").write_text(PROVIDERS)
    environment = {
        "ORRERY_PROVIDERS_FILE": str(folder / "providers.yaml"),
        "ORRERY_STORE_TIMEOUT": "1",
        "ORRERY_EMBEDDER_TIMEOUT": "3",
    }
    with Orrery(folder / "data", environment=environment) as server:
        yield server


@pytest.fixture
def client(fragile: Orrery) -> Iterator[Api]:
    """A client of that server, whose collection `c` is of each test alone."""
    api = Api(fragile.url, fragile.token, collection="c")
    yield api
    api.at_keyspace("deleteCollection", name="c")
    api.http.close()


def create(api: Api, service: dict[str, Any] | None = None) -> dict[str, Any]:
    """Create the collection `c`."""
    options = {"vector": {"service": service}} if service else {}
    return api.at_keyspace("createCollection", name="c", options=options)


@pytest.mark.parametrize(
    ("model", "code", "reason"),
    [("old", "DEPRECATED_AI_MODEL", "take current"), ("ancient", "END_OF_LIFE_AI_MODEL", "gone since May")],
)
def test_a_model_of_the_past_is_not_taken_for_a_new_collection(client: Api, model: str, code: str, reason: str) -> None:
    refused = create(client, {"provider": "house", "modelName": model})

    assert error_code(refused) == code
    for part in (model, reason):
        assert part in refused["errors"][0]["message"]


def test_a_host_that_is_not_there_is_named_as_such(client: Api) -> None:
    create(client, {"provider": "nowhere", "modelName": "current"})

    answer = client.run("insertOne", document={"$vectorize": "text"})

    assert error_code(answer) == "EMBEDDING_PROVIDER_BAD_HOST_NAME"
    assert "nowhere" in answer["errors"][0]["message"]


def test_a_key_that_no_header_can_hold_is_not_sent(client: Api, fragile: Orrery) -> None:
    fragile.add_key("house", "odd", "schlüssel", "default")
    create(client, {"provider": "house", "modelName": "current", "authentication": {"providerKey": "odd"}})

    answer = client.run("insertOne", document={"$vectorize": "text"})

    assert error_code(answer) == "EMBEDDING_REQUEST_ENCODING_ERROR"
    assert "schlüssel" not in str(answer)


def test_a_provider_that_left_the_catalogue_is_missed_only_where_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "providers.yaml").write_text(PROVIDERS)
    environment = {"ORRERY_PROVIDERS_FILE": str(tmp_path / "providers.yaml")}
    with Orrery(tmp_path / "data", environment=environment) as server:
        api = Api(server.url, server.token, collection="c")
        create(api, {"provider": "nowhere", "modelName": "current"})
        api.run("insertOne", document={"_id": 1, "$vector": [1, 2, 3]})
    with Orrery(tmp_path / "data") as server:
        api = Api(server.url, server.token, collection="c")

        assert error_code(api.run("insertOne", document={"$vectorize": "text"})) == "EMBEDDING_PROVIDER_UNAVAILABLE"
        assert api.found(sort={"$vector": [1, 2, 3]}) == [1]


def test_without_vectorize_no_service_is_offered(tmp_path: Path) -> None:
    with Orrery(tmp_path, environment={"ORRERY_VECTORIZE": "false"}) as server:
        api = Api(server.url, server.token)

        assert error_code(create(api, LOCAL)) == "VECTORIZE_FEATURE_NOT_AVAILABLE"
        assert error_code(api.at_database("findEmbeddingProviders")) == "VECTORIZE_FEATURE_NOT_AVAILABLE"


def test_a_store_that_does_not_answer_is_waited_for_and_then_named(client: Api, fragile: Orrery) -> None:
    create(client)
    store = fragile.child("store")
    os.kill(store, signal.SIGSTOP)
    try:
        answer = client.run("find")
    finally:
        os.kill(store, signal.SIGCONT)

    assert error_code(answer) == "TIMEOUT_READING_DATA"
    assert client.run("find")["data"]["documents"] == []


def test_an_embedder_that_does_not_answer_leaves_everything_but_embedding(client: Api, fragile: Orrery) -> None:
    create(client, LOCAL)
    embedder = fragile.child("embedder")
    os.kill(embedder, signal.SIGSTOP)
    try:
        refused = client.run("insertOne", document={"$vectorize": "text"})
        client.run("insertOne", document={"_id": 1, "$vector": [0.5] * 384})
    finally:
        os.kill(embedder, signal.SIGCONT)

    assert error_code(refused) == "EMBEDDING_GATEWAY_NOT_AVAILABLE"
    assert client.found() == [1]


def test_a_store_that_dies_in_the_middle_of_a_command_is_named_and_comes_back(client: Api, fragile: Orrery) -> None:
    create(client)
    store = fragile.child("store")
    os.kill(store, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        command = pool.submit(client.run, "find")
        time.sleep(0.3)
        os.kill(store, signal.SIGKILL)
        answer = command.result()

    assert error_code(answer) == "UNAVAILABLE_DATABASE"
    for _ in range(100):
        if "data" in (answer := client.run("find")):
            break
        time.sleep(0.05)
    assert answer["data"]["documents"] == []
