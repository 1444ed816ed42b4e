"""A live server of several databases, and what works on it."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.access.operating import Client, Operator
from tests.live import Orrery
from tests.upstream.server import Upstream

_numbers = itertools.count()


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
        if token is None:
            token = operator.token(database, role=role)
        return Client(server.url, host or f"{database}.localhost", token)

    return make
