"""Where imported documents go: to the store itself, with vectors and texts, or over HTTP with vectors alone."""

import asyncio
import base64
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from orrery.store.v1 import store_pb2, store_pb2_grpc

from services.documents.codec import JsonObject, decode
from services.documents.rules import DocumentLimits
from services.gateway.collection import Collection
from services.gateway.documents import prepare_document
from services.gateway.grammar.vector import vector_to_json
from services.gateway.limits import Limits
from services.gateway.remote import store_remote
from services.gateway.storage import collection_of, reference
from services.runtime.channels import open_async_channel
from services.runtime.errors import DataApiError
from services.runtime.tls import CertificateFiles
from services.transfer.data_api import Patience
from services.transfer.delivery import Delivery, Result, Stored, item_of
from services.transfer.errors import TransferError
from services.transfer.sources.row import Rejection
from services.transfer.vector_form import VECTOR, VECTORIZE

_CALL_SECONDS = 60.0
_CONNECT_SECONDS = 5.0
_NOT_THERE = frozenset({"UNAVAILABLE_DATABASE", "TIMEOUT_READING_DATA", "TIMEOUT_WRITING_DATA"})


@dataclass(frozen=True, slots=True)
class Imported:
    """A document of an export; `shown_as_binary` when the collection showed its vector so."""

    document: JsonObject
    shown_as_binary: bool


class Destination(Protocol):
    """A collection that documents are put into."""

    async def write(self, documents: Sequence[Imported]) -> list[Result]:
        """Put documents there and return what became of each. Raises `TransferError` when no more can be written."""


class StoreDestination:
    """The store, by its RPCs: the one way to bring a vector together with the text that it was made from.

    Documents keep the rules that the gateway holds them to. Used as a context manager.
    """

    def __init__(self, address: str, database: str, keyspace: str, name: str, patience: float) -> None:
        self._address = address
        self._place = (database, keyspace, name)
        self._patience = patience
        self._remote = store_remote(_CALL_SECONDS)
        self._collection: Collection | None = None
        self._limits = Limits()

    async def __aenter__(self) -> Self:
        self._channel = open_async_channel(self._address, CertificateFiles.of_rpcs(os.environ))
        self._rpc = store_pb2_grpc.StoreServiceStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def check(self) -> None:
        """Find the store. Raises `TransferError` when it does not answer."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._channel.channel_ready()
        except TimeoutError:
            raise self._unreachable(f"nothing listens there after {_CONNECT_SECONDS:g} s") from None

    async def write(self, documents: Sequence[Imported]) -> list[Result]:
        """Insert documents; those whose `_id` is there are left as they are."""
        collection = self._collection or await self._open()
        results: list[Result | None] = []
        messages: list[store_pb2.Document] = []
        for imported in documents:
            try:
                messages.append(self._message(imported, collection))
            except DataApiError as error:
                results.append(Rejection(error.code, error.message))
            else:
                results.append(None)
        request = store_pb2.InsertDocumentsRequest(collection=reference(collection), documents=messages)
        outcomes = iter((await self._call(request)).outcomes if messages else ())
        return [result or _stored(next(outcomes)) for result in results]

    async def _open(self) -> Collection:
        database, keyspace, name = self._place
        place = store_pb2.CollectionRef(database=database, keyspace=keyspace, name=name)
        try:
            response = await self._remote.call(
                self._rpc.GetCollection, store_pb2.GetCollectionRequest(collection=place)
            )
        except DataApiError as error:
            if error.code in _NOT_THERE:
                raise self._unreachable(error.message) from None
            raise TransferError(
                f"the store at {self._address} has not the collection that the endpoint has: {error.message} Are "
                "--endpoint, --data-dir (or --store) and --database those of one Orrery?"
            ) from None
        self._collection = collection_of(database, keyspace, response.collection)
        self._limits = Limits(document=_document_limits(response.collection.settings.limits))
        return self._collection

    def _message(self, imported: Imported, collection: Collection) -> store_pb2.Document:
        if "_id" not in imported.document:
            raise DataApiError("SHRED_BAD_DOCID_VALUE", problem="a document of an export has an _id")
        message = prepare_document(imported.document, collection, self._limits, give_id=False).message
        if isinstance(imported.document.get(VECTOR), dict) and not imported.shown_as_binary:
            message.vector.literal = b""
        return message

    async def _call(self, request: store_pb2.InsertDocumentsRequest) -> store_pb2.InsertDocumentsResponse:
        patience = Patience(self._patience)
        while True:
            try:
                response: store_pb2.InsertDocumentsResponse = await self._remote.call(
                    self._rpc.InsertDocuments, request
                )
            except DataApiError as error:
                if error.code not in _NOT_THERE:
                    raise TransferError(f"the store refuses the documents: {error.message} ({error.code})") from None
                await patience.pause(error.message)
            else:
                return response

    def _unreachable(self, problem: str) -> TransferError:
        return TransferError(
            f"no store answers at {self._address}: {problem}. Give the --data-dir of the running `orrery up`, or "
            "--store ADDRESS; where its store cannot be reached, --as-vectors imports over HTTP"
        )


class VectorsDestination:
    """A Data API, which takes a vector or a text but not both: the vector goes, the text into a field or nowhere."""

    def __init__(self, delivery: Delivery, text_field: str | None) -> None:
        self._delivery = delivery
        self._text_field = text_field

    async def write(self, documents: Sequence[Imported]) -> list[Result]:
        """Insert documents without `$vectorize`."""
        return await self._delivery.deliver([item_of(self._document(imported)) for imported in documents])

    def _document(self, imported: Imported) -> JsonObject:
        document = dict(imported.document)
        if VECTORIZE in document:
            text = document.pop(VECTORIZE)
            if self._text_field is not None and text is not None:
                document[self._text_field] = text
        vector = document.get(VECTOR)
        if isinstance(vector, dict) and not imported.shown_as_binary:
            # What is no vector is left for the endpoint to refuse by its own words.
            with contextlib.suppress(KeyError, ValueError):
                values = np.frombuffer(base64.b64decode(str(vector["$binary"])), ">f4").astype("<f4").tobytes()
                document[VECTOR] = decode(vector_to_json(values))
        return document


def _stored(outcome: store_pb2.InsertOutcome.ValueType) -> Stored:
    return Stored.THERE if outcome == store_pb2.INSERT_OUTCOME_ALREADY_EXISTS else Stored.LOADED


def _document_limits(limits: store_pb2.DocumentLimits) -> DocumentLimits:
    """Return the limits that a collection was created with; 0 stands for none."""
    return DocumentLimits(
        max_characters=limits.max_characters or None,
        max_depth=limits.max_depth or None,
        max_path_characters=limits.max_path_characters or None,
        max_object_members=limits.max_object_members or None,
        max_members=limits.max_members or None,
        max_array_elements=limits.max_array_elements or None,
        max_string_bytes=limits.max_string_bytes or None,
    )
