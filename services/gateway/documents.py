"""Documents on their way in: `$hybrid` expanded, special fields taken out, ids given, rules checked.

What can be checked is checked before any text is embedded, and nothing is written before all texts are.
"""

from dataclasses import dataclass
from typing import Any

from orrery.store.v1 import store_pb2

from services.documents.codec import JsonObject, JsonValue, characters, encode, json_type
from services.documents.rules import check_document, check_id
from services.documents.values import display_id, id_first
from services.documents.vectors import literal_characters
from services.gateway.collection import Collection
from services.gateway.grammar.vector import parse_document_vector
from services.gateway.ids import new_id
from services.gateway.limits import Limits
from services.runtime.errors import DataApiError

VECTOR, VECTORIZE, LEXICAL, HYBRID = "$vector", "$vectorize", "$lexical", "$hybrid"
SPECIAL_FIELDS = frozenset({VECTOR, VECTORIZE, LEXICAL})


@dataclass(slots=True)
class PreparedDocument:
    """A document that keeps every rule, as the store takes it.

    `id_json` is the JSON text of its `_id` as answers show it, None where it has none yet. `text` is what has to
    be embedded before it can be stored, None for nothing; `embedded` takes the vector.
    """

    message: store_pb2.Document
    id_json: bytes | None
    text: str | None

    def embedded(self, values: bytes) -> None:
        """Take the vector of the text: little-endian float32."""
        self.message.vector.CopyFrom(store_pb2.Vector(values=values))


def is_blank(text: JsonValue) -> bool:
    """Tell whether a `$vectorize` asks for no vector: null, empty or white space."""
    return text is None or (isinstance(text, str) and not text.strip())


def check_vectorize_usage(document: JsonValue, position: int, collection: Collection) -> None:
    """Refuse a `$vectorize` that cannot be embedded, whatever else the document holds.

    `position` counts from 1. Raises `INVALID_USAGE_OF_VECTORIZE` beside `$vector`, `INVALID_VECTORIZE_VALUE_TYPE`
    for what is no string, `EMBEDDING_SERVICE_NOT_CONFIGURED` for a text nobody can embed and
    `VECTOR_SEARCH_NOT_SUPPORTED` for a vector where the collection has none.
    """
    if not isinstance(document, dict):
        return
    if VECTORIZE in document:
        if VECTOR in document:
            raise DataApiError("INVALID_USAGE_OF_VECTORIZE", place=f"document {position}")
        text = document[VECTORIZE]
        if text is not None and not isinstance(text, str):
            raise DataApiError("INVALID_VECTORIZE_VALUE_TYPE", position=position, type=json_type(text))
        if not is_blank(text) and not has_service(collection):
            raise DataApiError(
                "EMBEDDING_SERVICE_NOT_CONFIGURED", keyspace=collection.keyspace, collection=collection.name
            )
    if document.get(VECTOR) is not None and not collection.options.vector:
        raise DataApiError("VECTOR_SEARCH_NOT_SUPPORTED", keyspace=collection.keyspace, collection=collection.name)


def has_service(collection: Collection) -> bool:
    """Tell whether a collection embeds texts."""
    vector = collection.options.vector
    return bool(vector and vector.service)


def expand_hybrid(document: JsonValue, position: int, count: int) -> JsonValue:
    """Return a document with `$hybrid` replaced by `$lexical` and `$vectorize`.

    Raises the `HYBRID_FIELD_*` errors, which name the document's position (from 1) among `count`.
    """
    if not isinstance(document, dict) or HYBRID not in document:
        return document
    place: dict[str, Any] = {"position": position, "count": count}
    beside = [name for name in sorted(SPECIAL_FIELDS) if name in document]
    if beside:
        raise DataApiError("HYBRID_FIELD_CONFLICT", fields=", ".join(beside), **place)
    given = document[HYBRID]
    if given is None or isinstance(given, str):
        parts: JsonObject = {LEXICAL: given, VECTORIZE: given}
    elif isinstance(given, dict) and not given.keys() - {LEXICAL, VECTORIZE}:
        for name, value in given.items():
            if value is not None and not isinstance(value, str):
                raise DataApiError(
                    "HYBRID_FIELD_UNSUPPORTED_SUBFIELD_VALUE_TYPE", field=name, type=json_type(value), **place
                )
        parts = {LEXICAL: given.get(LEXICAL), VECTORIZE: given.get(VECTORIZE)}
    elif isinstance(given, dict):
        unknown = ", ".join(sorted(given.keys() - {LEXICAL, VECTORIZE}))
        raise DataApiError("HYBRID_FIELD_UNKNOWN_SUBFIELDS", fields=unknown, **place)
    else:
        raise DataApiError("HYBRID_FIELD_UNSUPPORTED_VALUE_TYPE", type=json_type(given), **place)
    return {**{name: value for name, value in document.items() if name != HYBRID}, **parts}


def prepare_document(
    document: JsonValue, collection: Collection, limits: Limits, *, give_id: bool = True
) -> PreparedDocument:
    """Return a document as the store takes it.

    Without `give_id` a missing `_id` stays missing. Raises `DataApiError` for a rule that is broken: `SHRED_*`,
    `INVALID_VECTOR_LENGTH`, `LEXICAL_*` and so on, naming the document where its `_id` could be told.
    """
    if not isinstance(document, dict):
        raise DataApiError("SHRED_BAD_DOCUMENT_TYPE", type=json_type(document))
    if give_id and "_id" not in document:
        document = {"_id": new_id(collection), **document}
    own = id_first({name: value for name, value in document.items() if name not in SPECIAL_FIELDS})
    id_json = prepared_id(own)
    try:
        return _prepare(document, own, id_json, collection, limits)
    except DataApiError as error:
        raise (error if id_json is None else error.about(id_json)) from None


def prepared_id(document: JsonValue) -> bytes | None:
    """Return the JSON text of a document's `_id` as answers show it, None where it has none.

    Raises `SHRED_BAD_DOCID_TYPE` or `SHRED_BAD_DOCID_VALUE` for a value that is no id.
    """
    if not isinstance(document, dict) or "_id" not in document:
        return None
    check_id(document["_id"])
    return encode(display_id(document["_id"]))


def _prepare(
    document: JsonObject, own: JsonObject, id_json: bytes | None, collection: Collection, limits: Limits
) -> PreparedDocument:
    message = store_pb2.Document(json=encode(own))
    size = characters(message.json)
    text: str | None = None
    if VECTOR in document:
        message.vector.CopyFrom(parse_document_vector(document[VECTOR], collection, limits))
        size += literal_characters(message.vector.literal, message.vector.values)
    if VECTORIZE in document:
        given = document[VECTORIZE]
        message.vectorize = encode(given)
        size += characters(message.vectorize)
        if is_blank(given):
            message.vector.SetInParent()
        else:
            text = str(given)
    if LEXICAL in document:
        message.lexical = lexical_text(document[LEXICAL], collection, limits)
        size += characters(message.lexical)
    check_document(own, size, limits.document, collection.indexing)
    return PreparedDocument(message, id_json, text)


def lexical_text(value: JsonValue, collection: Collection, limits: Limits) -> bytes:
    """Return the JSON text of a `$lexical`.

    Raises `SHRED_BAD_DOCUMENT_LEXICAL_TYPE` for what is no string, `LEXICAL_NOT_ENABLED_FOR_COLLECTION` for a text
    that would not be indexed and `LEXICAL_CONTENT_TOO_LONG` for one with too many distinct terms.
    """
    if value is not None and not isinstance(value, str):
        raise DataApiError("SHRED_BAD_DOCUMENT_LEXICAL_TYPE", type=json_type(value))
    place: dict[str, Any] = {"keyspace": collection.keyspace, "collection": collection.name}
    if value is not None and not collection.options.lexical.enabled:
        raise DataApiError("LEXICAL_NOT_ENABLED_FOR_COLLECTION", **place)
    if value is not None and sum(len(term.encode()) for term in set(value.split())) > limits.lexical_bytes:
        raise DataApiError("LEXICAL_CONTENT_TOO_LONG", limit=limits.lexical_bytes, **place)
    return encode(value)
