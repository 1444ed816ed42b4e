"""Orrery, by its Data API as the official clients speak it, and by the RPC of its store."""

import asyncio
import base64
from typing import Any

import grpc
import msgspec
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray
from orrery.store.v1 import operations_pb2, operations_pb2_grpc, store_pb2, store_pb2_grpc

from benchmarks.store.cases import Task
from benchmarks.store.clients import CallFailedError, Client
from benchmarks.store.clients.http import Http
from benchmarks.store.dataset import DIMENSION, TOP
from benchmarks.store.documents import Documents

Float32 = NDArray[np.float32]

DATABASE, KEYSPACE = "default", "default_keyspace"
_MESSAGE_BYTES = 64 * 1024 * 1024
_POLL_SECONDS = 0.1


class _Found(msgspec.Struct):
    _id: str


class _Data(msgspec.Struct):
    documents: list[_Found] = []


class _Answer(msgspec.Struct):
    data: _Data | None = None
    errors: list[msgspec.Raw] = []


_answers = msgspec.json.Decoder(_Answer)
_found = msgspec.json.Decoder(_Found)


#: Vectors that are never in a graph: fewer are compared one by one. And those that may be outside of one.
_EXACT, _TAIL = 5_000, 1_000


def index_caught_up(index: operations_pb2.IndexFigures, documents: int) -> bool:
    """Tell from the figures of a collection's index whether the graph has caught up with the writes."""
    waiting = index.vectors - index.graph_vectors
    return index.vectors >= documents and waiting <= (_TAIL if documents > _EXACT else _EXACT)


class _Orrery(Client):
    """What both ways share: collections are made by the Data API, the store's RPC tells of the index."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._name = task.collection
        self._http = Http(task.target.address, {"Token": task.target.token}, task.call_seconds)
        self._reference = store_pb2.CollectionRef(database=DATABASE, keyspace=KEYSPACE, name=self._name)

    async def open(self) -> None:
        """Connect."""
        await self._http.open()
        options = [("grpc.max_receive_message_length", _MESSAGE_BYTES)]
        self._channel = grpc.aio.insecure_channel(self._task.target.rpc, options=options)
        self._stub: Any = store_pb2_grpc.StoreServiceStub(self._channel)
        self._operations: Any = operations_pb2_grpc.OperationsServiceStub(self._channel)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
        await self._channel.close()

    async def create(self) -> None:
        """Create the collection, everything but its vectors' dimension and metric by default."""
        vector = {"dimension": DIMENSION, "metric": "cosine"}
        await self._command("", {"createCollection": {"name": self._name, "options": {"vector": vector}}})

    async def drop(self) -> None:
        """Drop the collection."""
        await self._command("", {"deleteCollection": {"name": self._name}})

    async def index(self) -> None:
        """Return when every document is found by the index."""
        request = operations_pb2.InspectCollectionRequest(collection=self._reference)
        while True:
            answer = await self._operations.InspectCollection(request, timeout=self._task.call_seconds)
            if index_caught_up(answer.figures.index, self._task.documents):
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _command(self, collection: str, command: dict[str, Any]) -> bytes:
        return await self._send(collection, msgspec.json.encode(command))

    async def _send(self, collection: str, body: bytes) -> bytes:
        answer = await self._http.send(f"/v1/{KEYSPACE}{'/' if collection else ''}{collection}", body)
        # An error comes with status 200. The bytes cannot be in a document: there its quotes would be escaped.
        if b'"errors":[{' in answer:
            raise CallFailedError(answer[:200].decode(errors="replace"))
        return answer

    async def _rpc(self, method: str, request: Any) -> Any:
        try:
            return await getattr(self._stub, method)(request, timeout=self._task.call_seconds)
        except grpc.aio.AioRpcError as problem:
            raise CallFailedError(f"{problem.code().name}: {(problem.details() or '')[:120]}") from None


class OrreryHttp(_Orrery):
    """The Data API."""

    def encode_search(self, query: Float32, category: str) -> bytes:
        """Return a `find` by vector, as astrapy encodes it."""
        find: dict[str, Any] = {"filter": {"category": category}} if category else {}
        options = {"limit": TOP, "includeSimilarity": True}
        return msgspec.json.encode({"find": {**find, "sort": {"$vector": binary(query)}, "options": options}})

    async def search(self, request: bytes) -> list[int]:
        """Return the numbers of the documents that were found."""
        answer = _answers.decode(await self._send(self._name, request))
        if answer.data is None:
            raise CallFailedError("no data")
        return [int(document._id) for document in answer.data.documents]

    def encode_write(self, documents: Documents, numbers: range) -> bytes:
        """Return an `insertMany` without an order, as a load wants it; of one document, an `insertOne`."""
        encoded = [
            {"_id": str(number), **documents.fields(number), "$vector": binary(documents.vector(number))}
            for number in numbers
        ]
        if len(encoded) == 1:
            return msgspec.json.encode({"insertOne": {"document": encoded[0]}})
        return msgspec.json.encode({"insertMany": {"documents": encoded, "options": {"ordered": False}}})

    async def write(self, request: bytes) -> None:
        """Insert."""
        await self._send(self._name, request)

    async def empty(self) -> None:
        """Send a body without a command: the gateway says so, and asks nobody."""
        answer = await self._http.send(f"/v1/{KEYSPACE}", b"{}")
        if b'"errors"' not in answer:
            raise CallFailedError(answer[:200].decode(errors="replace"))


class OrreryGrpc(_Orrery):
    """The store's RPC."""

    async def open(self) -> None:
        """Connect."""
        await super().open()
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)

    def encode_search(self, query: Float32, category: str) -> store_pb2.FindDocumentsRequest:
        """Return a `FindDocuments` by vector."""
        request = store_pb2.FindDocumentsRequest(
            collection=self._reference, sort=store_pb2.Sort(vector=query.astype("<f4").tobytes()), limit=TOP
        )
        if category:
            path = store_pb2.Path(segments=["category"])
            request.filter.condition.CopyFrom(store_pb2.Condition(path=path, equals=store_pb2.Value(text=category)))
        return request

    async def search(self, request: store_pb2.FindDocumentsRequest) -> list[int]:
        """Return the numbers of the documents that were found."""
        response = await self._rpc("FindDocuments", request)
        return [int(_found.decode(found.document.json)._id) for found in response.documents]

    def encode_write(self, documents: Documents, numbers: range) -> store_pb2.InsertDocumentsRequest:
        """Return an `InsertDocuments`."""
        encoded = [
            store_pb2.Document(
                json=msgspec.json.encode({"_id": str(number), **documents.fields(number)}),
                vector=store_pb2.Vector(values=documents.vector(number).astype("<f4").tobytes()),
            )
            for number in numbers
        ]
        return store_pb2.InsertDocumentsRequest(collection=self._reference, documents=encoded)

    async def write(self, request: store_pb2.InsertDocumentsRequest) -> None:
        """Insert."""
        response = await self._rpc("InsertDocuments", request)
        if any(outcome != store_pb2.INSERT_OUTCOME_INSERTED for outcome in response.outcomes):
            raise CallFailedError("a document was not inserted")

    async def empty(self) -> None:
        """Ask the store's server whether it is healthy."""
        try:
            await self._health.Check(health_pb2.HealthCheckRequest(), timeout=self._task.call_seconds)
        except grpc.aio.AioRpcError as problem:
            raise CallFailedError(problem.code().name) from None


def binary(vector: Float32) -> dict[str, str]:
    """Return a vector as the official clients encode it: Base64 of big-endian float32."""
    return {"$binary": base64.b64encode(vector.astype(">f4").tobytes()).decode()}
