"""Orrery, by the official client for Python: what a user of it sees, most of which is the client's own time."""

from typing import Any

import numpy as np
from astrapy import DataAPIClient
from astrapy.exceptions import DataAPIException
from numpy.typing import NDArray

from benchmarks.store.cases import Task
from benchmarks.store.clients import CallFailedError, Client
from benchmarks.store.dataset import TOP

Float32 = NDArray[np.float32]


class Astrapy(Client):
    """Astrapy's collection for asyncio. It only searches: what it finds was loaded by another."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)

    async def open(self) -> None:
        """Name the collection; astrapy connects with the first call."""
        target = self._task.target
        database = DataAPIClient(environment="hcd").get_async_database(
            target.address, token=target.token, keyspace="default_keyspace"
        )
        self._collection: Any = database.get_collection(self._task.collection)

    async def close(self) -> None:
        """Leave the connections to the end of the process."""

    def encode_search(self, query: Float32, category: str) -> tuple[dict[str, str], list[float]]:
        """Return filter and vector; encoding is part of what astrapy costs."""
        return ({"category": category} if category else {}), query.tolist()

    async def search(self, request: tuple[dict[str, str], list[float]]) -> list[int]:
        """Return the numbers of the documents that were found."""
        chosen, vector = request
        try:
            cursor = self._collection.find(chosen, sort={"$vector": vector}, limit=TOP, include_similarity=True)
            return [int(document["_id"]) for document in await cursor.to_list()]
        except DataAPIException as problem:
            raise CallFailedError(f"{type(problem).__name__}: {problem}"[:200]) from None
