"""Documents of the store as answers show them: stored bytes, with the special fields put back."""

import msgspec
from orrery.store.v1 import store_pb2

from services.documents.vectors import BINARY_FORM
from services.gateway.grammar.vector import binary_to_json, vector_to_json

_encoder = msgspec.json.Encoder()


def render_document(found: store_pb2.FoundDocument, include_similarity: bool) -> msgspec.Raw:
    """Return the JSON of a found document, `$vector`, `$vectorize`, `$lexical` and `$similarity` last.

    The document's own bytes are not parsed.
    """
    document = found.document
    extra: list[bytes] = []
    if document.HasField("vector"):
        extra.append(b'"$vector":' + _vector(document.vector))
    if document.HasField("vectorize"):
        extra.append(b'"$vectorize":' + document.vectorize)
    if document.HasField("lexical"):
        extra.append(b'"$lexical":' + document.lexical)
    if include_similarity and found.HasField("similarity"):
        extra.append(b'"$similarity":' + _encoder.encode(found.similarity))
    if not extra:
        return msgspec.Raw(document.json)
    own = document.json[1:-1]
    return msgspec.Raw(b"{" + b",".join([own, *extra] if own else extra) + b"}")


def _vector(vector: store_pb2.Vector) -> bytes:
    if vector.literal == BINARY_FORM:
        return binary_to_json(vector.values)
    if vector.literal:
        return vector.literal
    return vector_to_json(vector.values) if vector.values else b"null"
