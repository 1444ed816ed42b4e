"""What contract tests work on: a live server, and collections of one test alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.api import Api
from tests.contract.compatibility import DOCUMENT, differences, observed
from tests.contract.samples import BODIES, START
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


@pytest.fixture
def bodies(documents: Api) -> Api:
    """A few documents with values of every type."""
    documents.run("insertMany", documents=BODIES)
    return documents


@pytest.fixture
def one(documents: Api) -> Api:
    """A collection with one document."""
    documents.run("insertOne", document=START)
    return documents


@pytest.fixture
def thirty(documents: Api) -> Api:
    """Thirty documents: `n` from 0 to 29, `even` or not."""
    documents.run("insertMany", documents=[{"_id": n, "n": n, "even": n % 2 == 0} for n in range(30)])
    return documents


@pytest.fixture
def fresh(api: Api) -> Iterator[Api]:
    """A keyspace of this test alone."""
    api.keyspace = "ddl"
    api.at_database("createKeyspace", name="ddl")
    yield api
    api.at_database("dropKeyspace", name="ddl")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Compare docs/compatibility.md with a complete run of the suite, or write it where that is asked for."""
    here = Path(__file__).parent
    files = {item.path for item in session.items if item.path.parent == here}
    complete = files == set(here.glob("test_*.py")) and not session.config.option.keyword
    if session.testsfailed or not complete or any("::" in argument for argument in session.config.args):
        return
    if session.config.getoption("--write-compatibility"):
        DOCUMENT.write_text(observed.document(), encoding="utf-8")
        return
    page = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else ""
    if found := differences(page, observed.document()):
        writer = session.config.get_terminal_writer()
        message = f"{DOCUMENT.name} is not what this run has seen: run `make compatibility` and look at the difference"
        writer.line(f"\n{message}", red=True)
        for line in found:
            writer.line(line)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
