"""Chroma, by the HTTP interface of its server, vectors of documents in Base64 as its own client sends them."""

import base64
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.store.cases import Task
from benchmarks.store.clients import CallFailedError, Client
from benchmarks.store.clients.http import Http
from benchmarks.store.dataset import DIMENSION, TOP
from benchmarks.store.documents import Documents

Float32 = NDArray[np.float32]

_COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"


class _Collection(msgspec.Struct):
    id: str


class _Found(msgspec.Struct):
    ids: list[list[str]]


_found = msgspec.json.Decoder(_Found)


class Chroma(Client):
    """A collection with the default index."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._http = Http(task.target.address, {}, task.call_seconds)
        self._path = ""

    async def open(self) -> None:
        """Connect, and look up the collection's id."""
        await self._http.open()
        try:
            answer = await self._http.send(f"{_COLLECTIONS}/{self._task.collection}", method="GET")
        except CallFailedError:
            return  # it is about to be created, or the server to be there
        self._path = f"{_COLLECTIONS}/{msgspec.json.decode(answer, type=_Collection).id}"

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def create(self) -> None:
        """Create the collection."""
        body = {"name": self._task.collection, "configuration": {"hnsw": {"space": "cosine"}}}
        answer = await self._http.send(_COLLECTIONS, msgspec.json.encode(body))
        self._path = f"{_COLLECTIONS}/{msgspec.json.decode(answer, type=_Collection).id}"

    async def drop(self) -> None:
        """Drop the collection."""
        await self._http.send(f"{_COLLECTIONS}/{self._task.collection}", method="DELETE")

    async def index(self) -> None:
        """Search once: the server brings its index up to date before it answers."""
        await self.search(self.encode_search(np.ones(DIMENSION, np.float32), ""))

    def encode_search(self, query: Float32, category: str) -> bytes:
        """Return a query."""
        body: dict[str, Any] = {
            "query_embeddings": [query.tolist()],
            "n_results": TOP,
            "include": ["documents", "metadatas", "distances"],
        }
        if category:
            body["where"] = {"category": category}
        return msgspec.json.encode(body)

    async def search(self, request: bytes) -> list[int]:
        """Return the numbers of the documents that were found."""
        answer = await self._http.send(f"{self._path}/query", request)
        return [int(identifier) for identifier in _found.decode(answer).ids[0]]

    def encode_write(self, documents: Documents, numbers: range) -> bytes:
        """Return an addition. Metadata cannot be nested: a nested field becomes one with a dot in its name."""
        body: dict[str, list[Any]] = {"ids": [], "embeddings": [], "documents": [], "metadatas": []}
        for number in numbers:
            fields = documents.fields(number)
            place = fields.pop("place")
            body["ids"].append(str(number))
            body["embeddings"].append(base64.b64encode(documents.vector(number).astype("<f4").tobytes()).decode())
            body["documents"].append(fields.pop("text"))
            body["metadatas"].append({**fields, **{f"place.{name}": value for name, value in place.items()}})
        return msgspec.json.encode(body)

    async def write(self, request: bytes) -> None:
        """Add."""
        await self._http.send(f"{self._path}/add", request)

    async def empty(self) -> None:
        """Ask for the server's heartbeat."""
        await self._http.send("/api/v2/heartbeat", method="GET")
