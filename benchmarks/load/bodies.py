"""What is sent: documents, and the requests about them, in the JSON of protobuf and as commands of the Data API.

The documents are the demonstration's: bodies and missions of the solar system. Their vectors are hashes of their texts
(the provider `deterministic`), so that nothing has to be computed or asked first; nearness means nothing.
"""

import base64
import functools
import itertools
import re
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.load.cases import BATCH, TOP
from benchmarks.store.clients.orrery import binary
from services.demo.run import load_documents
from services.embedder.providers import deterministic

DIMENSION = 384
#: Searches that callers make in turn, and insertions.
SEARCHES, INSERTIONS = 64, 64
#: What would end a raw string of a Go template, or be written differently by Go's JSON encoder.
_UNSAFE = re.compile(r"[`\"\\<>&{}]")

Float32 = NDArray[np.float32]


def collection_reference(database: str, keyspace: str, name: str) -> dict[str, str]:
    """Return a `CollectionRef`."""
    return {"database": database, "keyspace": keyspace, "name": name}


@functools.cache
def documents() -> tuple[dict[str, Any], ...]:
    """Return the documents, each with its `_id`, and its text under `description`."""
    return tuple({name: value for name, value in one.items() if name != "$vectorize"} for one in load_documents())


def vectors(texts: list[str]) -> Float32:
    """Return float32[n, 384] of length one."""
    return deterministic.embed(texts, DIMENSION).vectors


def little_endian(vector: Float32) -> str:
    """Return a vector as `bytes` of the contracts, in the JSON of protobuf: Base64 of little-endian float32."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


# --- RPCs -------------------------------------------------------------------


def search_requests(collection: dict[str, str]) -> list[dict[str, Any]]:
    """Return requests of `FindDocuments` for the documents nearest to a vector."""
    return [
        {"collection": collection, "sort": {"vector": little_endian(vector)}, "limit": TOP}
        for vector in _search_vectors()
    ]


def insert_requests(collection: dict[str, str]) -> list[dict[str, Any]]:
    """Return requests of `InsertDocuments`, with templates of ghz that give each document an `_id` of its own."""
    return [
        {
            "collection": collection,
            "documents": [
                {"json": _templated(document), "vector": {"values": little_endian(vector)}}
                for document, vector in batch
            ],
        }
        for batch in _insertions()
    ]


def _templated(document: dict[str, Any]) -> str:
    """Return a template that becomes the Base64 of a document's JSON.

    Its strings are in backticks: a quote would be escaped twice, by JSON and by Go.
    """
    fields = " ".join(f"`{name}` `{_UNSAFE.sub(' ', str(document[name]))}`" for name in ("name", "kind", "description"))
    return f"{{{{ dict `_id` newUUID {fields} | toJson | b64enc }}}}"


# --- commands of the Data API -----------------------------------------------


def find_one_commands() -> list[bytes]:
    """Return a `findOne` by `_id` for each document."""
    return [msgspec.json.encode({"findOne": {"filter": {"_id": one["_id"]}}}) for one in documents()]


def find_commands() -> list[bytes]:
    """Return `find`s for the documents nearest to a vector."""
    options = {"limit": TOP, "includeSimilarity": True}
    return [
        msgspec.json.encode({"find": {"sort": {"$vector": binary(vector)}, "options": options}})
        for vector in _search_vectors()
    ]


def insert_many_commands() -> list[bytes]:
    """Return `insertMany`s of documents without an `_id`: the server makes one for each."""
    return [
        _insert_many([{**_without_id(document), "$vector": binary(vector)} for document, vector in batch])
        for batch in _insertions()
    ]


def load_commands() -> list[bytes]:
    """Return `insertMany`s of all documents with their own `_id`, for the collection that is searched."""
    found = vectors([one["description"] for one in documents()])
    whole = [{**one, "$vector": binary(vector)} for one, vector in zip(documents(), found, strict=True)]
    return [_insert_many(whole[at : at + 50]) for at in range(0, len(whole), 50)]


def _insert_many(items: list[dict[str, Any]]) -> bytes:
    return msgspec.json.encode({"insertMany": {"documents": items, "options": {"ordered": False}}})


def _without_id(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "_id"}


def _search_vectors() -> Float32:
    return vectors([f"search {number}" for number in range(SEARCHES)])


def _insertions() -> list[list[tuple[dict[str, Any], Float32]]]:
    """Return batches of documents with vectors, of which no two are the same."""
    cycled = list(itertools.islice(itertools.cycle(documents()), INSERTIONS * BATCH))
    found = vectors([f"{number} {one['description']}" for number, one in enumerate(cycled)])
    pairs = list(zip(cycled, found, strict=True))
    return [pairs[at : at + BATCH] for at in range(0, len(pairs), BATCH)]
