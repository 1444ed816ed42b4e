"""A live server of several databases, and what works on it."""

import itertools
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.access.operating import Client, Operator
from tests.live import Orrery
from tests.upstream.server import Upstream

_numbers = itertools.count()
#: How long a new token may take to be known, at most.
_KNOWN_SECONDS, _AGAIN_SECONDS = 10.0, 0.2


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Orrery]:
    """A server with a domain, and with its caches as they are by default."""
    environment = {
        **upstream.environment(),
        "ORRERY_DOMAIN": "data.example.org",
        "ORRERY_REGION": "eu-west1",
        "ORRERY_GATEWAY_RATES_FAILURES_BURST": "200",
    }
    with Orrery(tmp_path_factory.mktemp("access"), environment=environment) as live:
        yield live


@pytest.fixture(scope="package")
def operator(server: Orrery) -> Iterator[Operator]:
    """Whoever may call the store's RPCs."""
    calling = Operator(server)
    yield calling
    calling.close()


@pytest.fixture
def database(operator: Operator) -> Iterator[str]:
    """A new database with a keyspace that has its name (with `_`), besides the usual one."""
    name = f"db-{next(_numbers)}"
    operator.create(name, "default_keyspace", name.replace("-", "_"))
    yield name
    if name in operator.names():
        operator.begin_drop(name)


@pytest.fixture
def client(server: Orrery, operator: Operator) -> Callable[..., Client]:
    """Make clients: `client(database)` with a token of its own, `client(host=..., token=...)`."""

    def make(database: str = "", *, role: str = "admin", host: str = "", token: str | None = None) -> Client:
        known = token is not None
        made = Client(server.url, host or f"{database}.localhost", token or operator.token(database, role=role))
        until = time.monotonic() + _KNOWN_SECONDS
        # The gateway asks at once who has a token that it does not know, but so often a second and no more: other
        # tests have had it ask just before this one.
        while not known and time.monotonic() < until:
            known = made.send("/v1", {"findKeyspaces": {}}).status_code != httpx.codes.UNAUTHORIZED
            if not known:
                time.sleep(_AGAIN_SECONDS)
        return made

    return make
