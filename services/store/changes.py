"""What the write commands ask of a collection and what they answer, typed."""

import enum
from dataclasses import dataclass, field

import numpy as np

from services.store.filters import EVERYTHING, Filter
from services.store.ordering import FieldOrder
from services.store.projection import WHOLE, Projection
from services.store.records import Found, Record, StoredVector
from services.store.updates import Operation
from services.store.vectors.index import IndexChange


@dataclass(frozen=True, slots=True)
class VectorOrder:
    """An order by nearness to a vector: little-endian float32 of the collection's dimension."""

    query: bytes


Order = FieldOrder | VectorOrder | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which document, or documents, a command means: a filter, and which of them first."""

    filter: Filter = EVERYTHING
    order: Order = None


class Image(enum.Enum):
    """Which image of a changed document to return."""

    NONE = 0
    BEFORE = 1
    AFTER = 2


class InsertOutcome(enum.Enum):
    """What became of a document to insert."""

    INSERTED = 1
    ALREADY_EXISTS = 2
    SKIPPED = 3


@dataclass(frozen=True, slots=True)
class VectorizeText:
    """`$vectorize` to set: JSON text, and its vector (little-endian float32) once it is known."""

    text: bytes
    values: bytes | None = None


@dataclass(frozen=True, slots=True)
class Special:
    """Changes to what lies beside a document's JSON.

    `vector` sets `$vector` and removes `$vectorize`; `vectorize` sets both; `blank_vectorize` (JSON text) sets it
    and the vector to null; `unset` removes both. `lexical` (JSON text) sets `$lexical`.
    """

    vector: StoredVector | None = None
    vectorize: VectorizeText | None = None
    blank_vectorize: bytes | None = None
    unset: bool = False
    lexical: bytes | None = None
    unset_lexical: bool = False
    on_insert_only: bool = False


@dataclass(frozen=True, slots=True)
class Update:
    """What updateOne, updateMany and findOneAndUpdate ask for; see `UpdateDocumentsRequest`."""

    selection: Selection
    operations: tuple[Operation, ...] = ()
    specials: tuple[Special, ...] = ()
    limit: int = 1
    after: int = 0
    upsert: Record | None = None
    new_id: bytes = b"null"
    image: Image = Image.NONE
    projection: Projection = WHOLE


@dataclass(frozen=True, slots=True)
class Replacement:
    """What findOneAndReplace asks for; see `ReplaceDocumentRequest`."""

    selection: Selection
    record: Record
    upsert: bool = False
    new_id: bytes = b"null"
    image: Image = Image.NONE
    projection: Projection = WHOLE


@dataclass(slots=True)
class Changed:
    """What an update or replacement did. `upserted_id` is JSON text."""

    embedding_needed: bool = False
    matched: int = 0
    modified: int = 0
    upserted_id: bytes | None = None
    next_after: int | None = None
    image: Found | None = None


@dataclass(slots=True)
class Deleted:
    """What a deletion did."""

    count: int = 0
    more: bool = False
    image: Found | None = None


@dataclass(slots=True)
class IndexChanges:
    """What a write means for what is kept in memory, once it is committed.

    `values` has the new vectors (little-endian float32) by position, None for a vector that is gone. `documents`
    says how many more documents there are.
    """

    truncated: bool = False
    documents: int = 0
    values: dict[int, bytes | None] = field(default_factory=dict)

    def inserted(self, position: int, record: Record) -> None:
        """Note a document that is new."""
        self.documents += 1
        self._vector(position, b"", vector_values(record))

    def changed(self, position: int, before: Record, after: Record) -> None:
        """Note a document that is different now."""
        self._vector(position, vector_values(before), vector_values(after))

    def deleted(self, position: int, record: Record) -> None:
        """Note a document that is gone."""
        self.documents -= 1
        self._vector(position, vector_values(record), b"")

    def of_vectors(self, dimension: int, sequence: int) -> IndexChange:
        """Return what changes in the vector index, of the write with that number."""
        removed = [position for position, values in self.values.items() if values is None]
        kept = [(position, values) for position, values in self.values.items() if values is not None]
        vectors = np.frombuffer(b"".join(values for _, values in kept), "<f4").reshape(-1, dimension)
        positions = np.array([position for position, _ in kept], np.int64)
        return IndexChange(sequence, self.truncated, np.array(removed, np.int64), positions, vectors)

    def _vector(self, position: int, before: bytes, after: bytes) -> None:
        if before != after:
            self.values[position] = after or None


def vector_values(record: Record) -> bytes:
    """Return the values of a document's vector; empty where it has none, or null."""
    return b"" if record.vector is None else record.vector.values
