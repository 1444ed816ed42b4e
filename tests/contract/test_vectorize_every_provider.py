"""Every provider from end to end: a collection that embeds with it, texts in, the right text found."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import PROVIDER_SECRET
from tests.contract.api import Api, error_code
from tests.upstream.formats import FORMATS
from tests.upstream.providers import SERVICES
from tests.upstream.server import Upstream
from tests.upstream.signatures import AWS_ACCESS_ID

CAKE = "A recipe for a rich chocolate cake with dark cocoa"
MARS = "The probe entered orbit around Mars after a long journey"
QUESTION = "a spacecraft arriving at another planet"


def create(api: Api, vector: dict[str, Any]) -> dict[str, Any]:
    """Create the collection `every` with the option `vector`."""
    api.collection = "every"
    return api.at_keyspace("createCollection", name="every", options={"vector": vector})


@pytest.fixture
def every(api: Api) -> Iterator[Api]:
    """A client that leaves no collection `every` behind."""
    yield api
    api.at_keyspace("deleteCollection", name="every")


def insert_and_find(api: Api, headers: dict[str, str] | None = None) -> list[object]:
    """Insert two texts and return the ids as a search by text orders them."""
    documents = [{"_id": "cake", "$vectorize": CAKE}, {"_id": "mars", "$vectorize": MARS}]
    assert "errors" not in api.run("insertMany", documents=documents, headers=headers)
    answer = api.run("find", sort={"$vectorize": QUESTION}, headers=headers)
    return [document["_id"] for document in answer["data"]["documents"]]


@pytest.mark.parametrize("provider", FORMATS)
def test_texts_are_stored_and_found_with_a_stored_key(every: Api, provider: str, upstream: Upstream) -> None:
    use = SERVICES[provider]
    # NVIDIA takes no stored keys; its servers at home need none.
    assert create(every, use.options(None if provider == "nvidia" else "test-key")) == {"status": {"ok": 1}}

    assert insert_and_find(every) == ["mars", "cake"]
    assert {request["provider"] for request in upstream.requests} == {provider}


@pytest.mark.parametrize("provider", FORMATS)
def test_texts_are_stored_and_found_with_a_key_in_the_headers(every: Api, provider: str, upstream: Upstream) -> None:
    create(every, SERVICES[provider].options(None))
    headers = {"x-embedding-api-key": PROVIDER_SECRET}
    if provider == "bedrock":
        headers = {"x-embedding-access-id": AWS_ACCESS_ID, "x-embedding-secret-id": PROVIDER_SECRET}

    assert insert_and_find(every, headers) == ["mars", "cake"]
    assert all("authorization" in item["headers"] or "api-key" in item["headers"] for item in upstream.requests)


def test_writes_are_documents_and_sorts_are_queries(every: Api, upstream: Upstream) -> None:
    create(every, SERVICES["cohere"].options("test-key"))
    every.run("insertOne", document={"_id": 1, "$vectorize": CAKE})
    every.run("updateOne", filter={"_id": 1}, update={"$set": {"$vectorize": MARS}})
    every.run("findOneAndReplace", filter={"_id": 1}, replacement={"$vectorize": CAKE})
    every.run("findOne", sort={"$vectorize": QUESTION})
    every.run("updateOne", filter={}, sort={"$vectorize": QUESTION}, update={"$set": {"a": 1}})

    purposes = [request["body"]["input_type"] for request in upstream.requests]
    assert purposes == ["search_document"] * 3 + ["search_query"] * 2


@pytest.mark.parametrize(
    ("model", "sent"),
    [("jina-embeddings-v3", ["retrieval.passage", "retrieval.query"]), ("intfloat/multilingual-e5-large", None)],
)
def test_a_collection_may_ask_for_documents_and_queries_to_be_told_apart(
    every: Api, upstream: Upstream, model: str, sent: list[str] | None
) -> None:
    provider = "jinaAI" if sent else "huggingface"
    service = {
        "provider": provider,
        "modelName": model,
        "authentication": {"providerKey": "test-key"},
        "parameters": {"asymmetric": True},
    }
    assert create(every, {"service": service}) == {"status": {"ok": 1}}

    assert insert_and_find(every) == ["mars", "cake"]
    bodies = [request["body"] for request in upstream.requests]
    if sent:
        assert [body["task"] for body in bodies] == sent
        assert all("asymmetric" not in body for body in bodies)
    else:
        assert [body["inputs"] for body in bodies] == [
            [f"passage: {CAKE}", f"passage: {MARS}"],
            [f"query: {QUESTION}"],
        ]
    found = every.at_keyspace("findCollections", options={"explain": True})["status"]["collections"]
    (stored,) = [item for item in found if item["name"] == "every"]
    assert stored["options"]["vector"]["service"]["parameters"] == {"asymmetric": True}


def test_vectors_made_of_hashes_find_the_same_text(every: Api, upstream: Upstream) -> None:
    create(every, {"dimension": 7, "service": {"provider": "deterministic"}})
    documents = [{"_id": "cake", "$vectorize": CAKE}, {"_id": "mars", "$vectorize": MARS}]
    every.run("insertMany", documents=documents)

    answer = every.run("findOne", sort={"$vectorize": MARS}, options={"includeSimilarity": True})

    assert answer["data"]["document"] == {"_id": "mars", "$similarity": pytest.approx(1.0)}
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("service", "says"),
    [
        ({"provider": "azureOpenAI", "modelName": "text-embedding-3-small"}, "'resourceName'"),
        ({"provider": "bedrock", "modelName": "amazon.titan-embed-text-v2:0", "parameters": {"region": 5}}, "string"),
        ({"provider": "huggingfaceDedicated", "modelName": "other"}, "'other'"),
        ({"provider": "nobody", "modelName": "m"}, "'nobody'"),
    ],
)
def test_a_service_that_does_not_fit_is_refused(every: Api, service: dict[str, Any], says: str) -> None:
    refused = create(every, {"service": service})

    assert error_code(refused) == "INVALID_CREATE_COLLECTION_OPTIONS"
    assert says in refused["errors"][0]["message"]
