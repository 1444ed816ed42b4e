"""What contract tests work on: a live server, and collections of one test alone."""

from collections.abc import Iterator

import pytest

from tests.contract.api import Api
from tests.live import Orrery


@pytest.fixture
def api(orrery: Orrery) -> Iterator[Api]:
    """A client of the live server."""
    client = Api(orrery.url, orrery.token)
    yield client
    client.http.close()


def _collection(api: Api, name: str, options: dict[str, object]) -> Iterator[Api]:
    api.collection = name
    assert api.at_keyspace("createCollection", name=name, options=options) == {"status": {"ok": 1}}
    yield api
    api.at_keyspace("deleteCollection", name=name)


@pytest.fixture
def documents(api: Api) -> Iterator[Api]:
    """An empty collection without vectors."""
    yield from _collection(api, "documents", {})


@pytest.fixture
def vectors(api: Api) -> Iterator[Api]:
    """An empty collection with vectors of dimension 3, compared by cosine."""
    yield from _collection(api, "vectors", {"vector": {"dimension": 3, "metric": "cosine"}})


@pytest.fixture
def texts(api: Api) -> Iterator[Api]:
    """An empty collection that embeds by Hugging Face with the stored key `test-key`."""
    service = {
        "provider": "huggingface",
        "modelName": "sentence-transformers/all-MiniLM-L6-v2",
        "authentication": {"providerKey": "test-key"},
    }
    yield from _collection(api, "texts", {"vector": {"service": service}})
