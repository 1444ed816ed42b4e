"""How the load asks each contender. What can be encoded before the clock runs is, and of answers only ids are read."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.store.cases import Task
from benchmarks.store.documents import Documents

Float32 = NDArray[np.float32]


class CallFailedError(Exception):
    """A call that was not answered, or with an error."""


class Client:
    """Asks one contender; used by all clients of a measurement at once.

    Every method but those that encode may raise `CallFailedError`. Not every contender can do everything.
    """

    def __init__(self, task: Task) -> None:
        self._task = task

    async def open(self) -> None:
        """Connect."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the connections."""
        raise NotImplementedError

    async def create(self) -> None:
        """Create the collection."""
        raise NotImplementedError

    async def drop(self) -> None:
        """Drop the collection."""
        raise NotImplementedError

    async def before_load(self) -> None:
        """Do what is advised before a load."""

    async def index(self) -> None:
        """Return when every document of the collection is found by the index."""
        raise NotImplementedError

    def encode_search(self, query: Float32, category: str) -> Any:
        """Return a search for the ten documents nearest to a query, ready to be sent."""
        raise NotImplementedError

    async def search(self, request: Any) -> list[int]:
        """Return the numbers of the documents that were found."""
        raise NotImplementedError

    def encode_write(self, documents: Documents, numbers: range) -> Any:
        """Return an insertion of documents, ready to be sent."""
        raise NotImplementedError

    async def write(self, request: Any) -> None:
        """Insert, and return when that is acknowledged."""
        raise NotImplementedError

    async def empty(self) -> None:
        """Send a command that asks for nothing."""
        raise NotImplementedError


def make_client(task: Task) -> Client:
    """Return the client for a task's contender.

    Each is imported only where it is used: some of what they need is in Orrery's environment, some in the peers'.
    """
    match task.target.speech:
        case "orrery-http":
            from benchmarks.store.clients.orrery import OrreryHttp

            return OrreryHttp(task)
        case "orrery-grpc":
            from benchmarks.store.clients.orrery import OrreryGrpc

            return OrreryGrpc(task)
        case "astrapy":
            from benchmarks.store.clients.astra import Astrapy

            return Astrapy(task)
        case "faiss":
            from benchmarks.store.clients.faiss_library import FaissLibrary

            return FaissLibrary(task)
        case "postgres":
            from benchmarks.store.clients.postgres import Postgres

            return Postgres(task)
        case "chroma":
            from benchmarks.store.clients.chroma import Chroma

            return Chroma(task)
