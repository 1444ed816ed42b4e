"""A document in an export: its vector as `$binary`, everything else byte for byte as the endpoint shows it."""

import base64

import msgspec
import numpy as np

from services.documents.codec import decode, encode
from services.gateway.grammar.vector import vector_to_json

VECTOR, VECTORIZE = "$vector", "$vectorize"
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_numbers = msgspec.json.Decoder(list[float])


class ExportedDocument:
    """A document as a line of an export, and what the manifest counts of it."""

    __slots__ = ("has_text", "has_vector", "line", "shown_as_binary")

    def __init__(self, document: msgspec.Raw) -> None:
        members = _members.decode(document)
        vector = bytes(members.get(VECTOR, b""))
        self.has_vector = vector not in (b"", b"null")
        self.has_text = bytes(members.get(VECTORIZE, b"null")) != b"null"
        self.shown_as_binary = vector.startswith(b"{")
        if vector.startswith(b"["):
            binary = _binary(vector)
            if binary is not None:
                members[VECTOR] = msgspec.Raw(binary)
        parts = (msgspec.json.encode(name) + b":" + bytes(text) for name, text in members.items())
        line = b"{" + b",".join(parts) + b"}"
        # One document a line: an endpoint that breaks lines inside a document is read and written anew.
        self.line = line if b"\n" not in line else encode(decode(line))


def _binary(array: bytes) -> bytes | None:
    """Return an array of numbers as `$binary`; None where that would not give back the very text.

    Numbers that were sent with more digits than a float32 has, say, are kept as they are.
    """
    values = np.array(_numbers.decode(array), "<f4").tobytes()
    if vector_to_json(values) != array:
        return None
    return b'{"$binary":"' + base64.b64encode(np.frombuffer(values, "<f4").astype(">f4").tobytes()) + b'"}'
