"""What a test gets: a place in a running server that nobody else uses."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class OrreryDatabase:
    """An empty database, and how any client of the Data API reaches it."""

    endpoint: str
    """URL of the Data API, such as `http://test-5f0c.localhost:41234`, without a path."""
    token: str = field(repr=False)
    """What is sent in the header `Token`."""
    keyspace: str
    """An empty keyspace of it: in a URL `{endpoint}/v1/{keyspace}`."""
    database: str
    """The database's name, as it is given where keys and tokens are scoped."""
    keys: tuple[str, ...] = ()
    """Names of the provider keys that are stored: those of `orrery_keys` whose variables are set."""

    def astrapy(self) -> Any:
        """Return the `astrapy.Database`. Raises `ModuleNotFoundError` where astrapy is missing."""
        from astrapy import DataAPIClient

        client = DataAPIClient(environment="hcd")
        return client.get_database(self.endpoint, token=self.token, keyspace=self.keyspace)
