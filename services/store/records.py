"""A document as the store keeps it, and how it is addressed: the typed values that pass between modules."""

from dataclasses import dataclass, field
from typing import NamedTuple

from services.documents.indexing import EVERYTHING, Indexing
from services.documents.rules import DocumentLimits
from services.store.vectors.similarity import Metric


class StoredVector(NamedTuple):
    """A vector and how it is shown.

    `values` is little-endian float32, empty for a vector that is null. `literal` is the JSON text to show instead
    of the shortest array of the values, or `BINARY_FORM`.
    """

    values: bytes
    literal: bytes = b""


class Record(NamedTuple):
    """A document: its JSON (`_id` first), and what lies beside it. None means absent.

    `vectorize` and `lexical` are JSON texts.
    """

    json: bytes
    vector: StoredVector | None = None
    vectorize: bytes | None = None
    lexical: bytes | None = None


class Found(NamedTuple):
    """A document that was found, and how near it is where it was searched by vector."""

    record: Record
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class VectorSettings:
    """Length and metric of a collection's vectors."""

    dimension: int
    metric: Metric


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """What the store acts on of a collection's settings."""

    vector: VectorSettings | None = None
    indexing: Indexing = EVERYTHING
    limits: DocumentLimits = field(default_factory=DocumentLimits)
