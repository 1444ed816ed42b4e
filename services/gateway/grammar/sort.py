"""Sorts: by fields, by a vector, by a text to embed, or by words."""

from dataclasses import dataclass
from typing import Any

from orrery.store.v1 import store_pb2

from services.documents.codec import JsonObject, JsonValue, json_type
from services.documents.paths import Path, parse_path
from services.gateway.collection import Collection
from services.gateway.grammar.vector import (
    BINARY,
    BinaryVectorError,
    Float32,
    check_vector,
    read_array,
    read_binary,
)
from services.gateway.limits import Limits
from services.runtime.errors import DataApiError

#: Sorts that go with no other. Of several the first one here is looked at.
_ALONE = ("$lexical", "$vector", "$vectorize")


@dataclass(frozen=True, slots=True)
class NoSort:
    """The order of storage."""


@dataclass(frozen=True, slots=True)
class FieldSort:
    """By the values at some paths."""

    message: store_pb2.FieldSort


@dataclass(frozen=True, slots=True)
class VectorSort:
    """By nearness to a vector: little-endian float32 of the collection's dimension."""

    values: bytes


@dataclass(frozen=True, slots=True)
class VectorizeSort:
    """By nearness to the vector of a text."""

    text: str


@dataclass(frozen=True, slots=True)
class LexicalSort:
    """By how well the words of a text match."""

    text: str


SortClause = NoSort | FieldSort | VectorSort | VectorizeSort | LexicalSort


def parse_sort(clause: JsonValue, collection: Collection, limits: Limits) -> SortClause:
    """Return the sort of a command.

    Raises `DataApiError` with the `SORT_*` and vector codes, `VECTOR_SEARCH_NOT_SUPPORTED`,
    `EMBEDDING_SERVICE_NOT_CONFIGURED` or `LEXICAL_NOT_ENABLED_FOR_COLLECTION`.
    """
    if clause is None or clause == {}:
        return NoSort()
    if not isinstance(clause, dict):
        raise DataApiError("SORT_CLAUSE_INVALID", problem=f"it must be an object, found {json_type(clause)}")
    for name in _ALONE:
        if name in clause:
            if name == "$lexical" and not collection.options.lexical.enabled:
                raise DataApiError(
                    "LEXICAL_NOT_ENABLED_FOR_COLLECTION", keyspace=collection.keyspace, collection=collection.name
                )
            if len(clause) > 1:
                raise DataApiError("SORT_CLAUSE_INVALID", problem=f"`{name}` cannot be combined with other sorts")
            return _special(name, clause[name], collection)
    return FieldSort(_fields(clause, collection, limits))


def _special(name: str, value: JsonValue, collection: Collection) -> SortClause:
    place: dict[str, Any] = {"keyspace": collection.keyspace, "collection": collection.name}
    if name == "$lexical":
        if not isinstance(value, str):
            raise DataApiError("SORT_CLAUSE_INVALID", problem=f"`$lexical` takes a string, found {json_type(value)}")
        return LexicalSort(value)
    vector = collection.options.vector
    if name == "$vectorize":
        if not isinstance(value, str) or not value.strip():
            raise _bad_value(name, "it must be a string that is not blank")
        if not vector or not vector.service:
            raise DataApiError("EMBEDDING_SERVICE_NOT_CONFIGURED", **place)
        return VectorizeSort(value)
    values = _read_vector(value)
    if not vector:
        raise DataApiError("VECTOR_SEARCH_NOT_SUPPORTED", **place)
    return VectorSort(check_vector(values, collection))


def _read_vector(value: JsonValue) -> Float32:
    if isinstance(value, list):
        return read_array(value)
    if isinstance(value, dict) and list(value) == [BINARY]:
        try:
            return read_binary(value[BINARY])
        except BinaryVectorError as problem:
            raise _bad_value("$vector", f"its `$binary` cannot be read: {problem}") from None
    raise _bad_value("$vector", f'it must be an array of numbers or {{"$binary": ...}}, found {json_type(value)}')


def _fields(clause: JsonObject, collection: Collection, limits: Limits) -> store_pb2.FieldSort:
    message = store_pb2.FieldSort(max_candidates=limits.sort_candidates)
    # All paths are looked at before any value.
    paths = [_path(name) for name in clause]
    for path, (name, value) in zip(paths, clause.items(), strict=True):
        if isinstance(value, bool) or not isinstance(value, int) or value not in (1, -1):
            raise _bad_value(name, "it must be the integer 1 (ascending) or -1 (descending)")
        if not collection.indexing.includes(path):
            raise DataApiError("SORT_CLAUSE_PATH_UNINDEXED", path=name)
        message.fields.append(store_pb2.SortField(path=store_pb2.Path(segments=path), descending=value == -1))
    return message


def _path(name: str) -> Path:
    if name.startswith("$"):
        raise DataApiError("SORT_CLAUSE_PATH_INVALID", path=name, problem="it starts with '$'")
    try:
        return parse_path(name)
    except ValueError as problem:
        raise DataApiError("SORT_CLAUSE_PATH_INVALID", path=name, problem=problem) from None


def _bad_value(path: str, problem: str) -> DataApiError:
    return DataApiError("SORT_CLAUSE_VALUE_INVALID", path=path, problem=problem)
