"""Servers that tests share: one live Orrery and one upstream for the whole run."""

from collections.abc import Iterator

import pytest

from tests.live import Orrery
from tests.upstream.formats import FORMATS
from tests.upstream.server import Upstream
from tests.upstream.signatures import AWS_ACCESS_ID

#: The key that the upstream takes. Tests search every output for it.
PROVIDER_SECRET = "sk-upstream-9f1c7e"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `make compatibility` asks for."""
    parser.addoption(
        "--write-compatibility", action="store_true", help="write docs/compatibility.md from this run of tests/contract"
    )


#: Settings of an embedder whose tests say the same texts again and again, and make the upstream fail in a row.
FORGIVING = {
    "ORRERY_EMBEDDER_CACHE_MODE": "off",
    "ORRERY_EMBEDDER_BREAKER_FAILURES": "1000000",
    "ORRERY_EMBEDDER_FLOW_LONGEST_HOLD_SECONDS": "0.05",
}


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """A provider of embeddings on loopback that takes `PROVIDER_SECRET`."""
    with Upstream(PROVIDER_SECRET) as server:
        yield server


@pytest.fixture(scope="session")
def orrery(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Orrery]:
    """A live server with the upstream for every provider and a stored key `test-key` for those that take one."""
    limits = ("--limit", "max_collections=100", "--limit", "indexes_available=1000")
    environment = {**upstream.environment(), **FORGIVING, "ORRERY_ALLOW_PROVIDERS": "deterministic"}
    with Orrery(tmp_path_factory.mktemp("orrery"), environment=environment, arguments=limits) as server:
        for provider in FORMATS:
            if provider == "bedrock":
                server.add_key(provider, "test-key", f"{AWS_ACCESS_ID}\n{PROVIDER_SECRET}", "default")
            elif provider != "nvidia":
                server.add_key(provider, "test-key", PROVIDER_SECRET, "default")
        yield server


@pytest.fixture(autouse=True)
def well_behaved(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the upstream well-behaved, whatever a test asked of it."""
    yield
    if "upstream" in request.fixturenames or "orrery" in request.fixturenames:
        request.getfixturevalue("upstream").reset()
