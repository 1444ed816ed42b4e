"""What the members of a command say of its kind: how it sorts, which features and conditions it uses, its shape.

Nothing here looks at more than names, operators and JSON types: what comes out holds no value of a document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from services.documents.codec import JsonValue, json_type

#: Labels of `index_usage_count_total`: the kinds of conditions, named as the columns that answer them elsewhere.
INDEXES = (
    "key",
    "exist_keys",
    "array_size",
    "array_contains",
    "query_bool_values",
    "query_dbl_values",
    "query_null_values",
    "query_text_values",
    "query_timestamp_values",
    "query_vector_value",
    "query_lexical_value",
)
#: Labels of `command_processor_process_seconds` that say what a command uses.
FEATURES = (
    "feature_hybrid_string",
    "feature_lexical",
    "feature_vector",
    "feature_vectorize",
    "feature_hybrid_limits_number",
    "feature_hybrid_limits_vector",
    "feature_hybrid_limits_lexical",
)

_VECTORS = ("$vector", "$vectorize")
_LOGICAL = ("$and", "$or", "$not", "$nor")
_RANGES = ("$gt", "$gte", "$lt", "$lte")
#: Objects of one member that stand for a scalar.
_EXTENDED = {"$date": "date", "$uuid": "uuid", "$objectId": "objectId", "$binary": "binary"}
#: Members of a shape, at most, and characters of a name in it: a filter that is refused may be of any size.
_SHAPE_MEMBERS = 100
_SHAPE_CHARACTERS = 100


class Traits(NamedTuple):
    """The kind of a command.

    `sort_type` is `NONE`, `SORT_BY_FIELD`, `SIMILARITY_SORT` or `SIMILARITY_SORT_WITH_FILTERS`. `features` and
    `indexes` are those of `FEATURES` and `INDEXES` that it uses. `documents` came with it, None where none can.
    """

    sort_type: str = "NONE"
    features: frozenset[str] = frozenset()
    indexes: frozenset[str] = frozenset()
    documents: int | None = None


NO_TRAITS = Traits()


def traits(members: Mapping[str, JsonValue]) -> Traits:
    """Return the kind of a command with these members, which may be of any type."""
    filter_, sort = members.get("filter"), members.get("sort")
    documents = _documents(members)
    conditions = isinstance(filter_, dict) and bool(filter_)
    by = sort if isinstance(sort, dict) else {}
    # This is for every request: so the sets are filled in place, and most parts are seen to have nothing special.
    indexes: set[str] = set()
    if conditions:
        _add_indexes(indexes, filter_)
    features = {_FEATURE_OF[name] for name in by if name in _FEATURE_OF}
    for part in _parts(members, documents):
        if isinstance(part, dict):
            for name in _FEATURE_OF:
                if name in part:
                    features.add(_FEATURE_OF[name])
    options = members.get("options")
    if isinstance(options, dict) and "hybridLimits" in options:
        features.update(_hybrid_limits(options["hybridLimits"]))
    if "$vector" in by or "$vectorize" in by:
        indexes.add("query_vector_value")
    if "$lexical" in by:
        indexes.add("query_lexical_value")
    return Traits(
        _sort_type(by, conditions=conditions),
        frozenset(features),
        frozenset(indexes),
        None if documents is None else len(documents),
    )


_FEATURE_OF = {
    "$hybrid": "feature_hybrid_string",
    "$lexical": "feature_lexical",
    "$vector": "feature_vector",
    "$vectorize": "feature_vectorize",
}


def _sort_type(by: Mapping[str, JsonValue], *, conditions: bool) -> str:
    if not by:
        return "NONE"
    if len(by) == 1 and next(iter(by)) in _VECTORS:
        return "SIMILARITY_SORT_WITH_FILTERS" if conditions else "SIMILARITY_SORT"
    return "SORT_BY_FIELD"


def _documents(members: Mapping[str, JsonValue]) -> list[JsonValue] | None:
    """Return the documents that came with a command."""
    several = members.get("documents")
    if isinstance(several, list):
        return several
    one = members.get("document", members.get("replacement"))
    return None if one is None else [one]


def _parts(members: Mapping[str, JsonValue], documents: list[JsonValue] | None) -> Iterable[JsonValue]:
    """Return the objects of a command that may have special fields: documents, or what an update sets."""
    if documents is not None:
        return documents
    update = members.get("update")
    return update.values() if isinstance(update, dict) else ()


def _hybrid_limits(limits: JsonValue) -> set[str]:
    if isinstance(limits, int | Decimal) and not isinstance(limits, bool):
        return {"feature_hybrid_limits_number"}
    if isinstance(limits, dict):
        return {f"feature_hybrid_limits_{name[1:]}" for name in ("$vector", "$lexical") if name in limits}
    return set()


# --- conditions ---------------------------------------------------------------


def _add_indexes(indexes: set[str], filter_: JsonValue, depth: int = 0) -> None:
    """Add the kinds of the conditions of a filter."""
    if not isinstance(filter_, dict) or depth > _SHAPE_MEMBERS:
        return
    for name, value in filter_.items():
        if name in _LOGICAL:
            for part in value if isinstance(value, list) else (value,):
                _add_indexes(indexes, part, depth + 1)
        elif name == "_id":
            indexes.add("key")
        elif name == "$lexical":
            indexes.add("query_lexical_value")
        elif isinstance(value, dict) and _has_operators(value):
            for operator, operand in value.items():
                indexes.add(_index_of(operator, operand))
        else:
            indexes.add(_index_of("$eq", value))


def _index_of(operator: str, operand: JsonValue) -> str:
    if operator == "$exists":
        return "exist_keys"
    if operator == "$size":
        return "array_size"
    if operator in _RANGES:
        return _VALUES.get(_kind(operand), "query_text_values")
    return "query_null_values" if operand is None else "array_contains"


_VALUES = {
    "boolean": "query_bool_values",
    "number": "query_dbl_values",
    "null": "query_null_values",
    "date": "query_timestamp_values",
}


# --- shapes -------------------------------------------------------------------


def shape(value: JsonValue) -> object:
    """Return a filter or a sort with the kind of each value in its place, such as `{"age": {"$gt": "number"}}`.

    What has very many members is cut.
    """
    return _shape(value, [_SHAPE_MEMBERS])


def _shape(value: JsonValue, left: list[int]) -> object:
    if not isinstance(value, dict):
        return _kind(value)
    shown: dict[str, object] = {}
    for name, inner in value.items():
        left[0] -= 1
        if left[0] < 0:
            shown["..."] = "cut"
            break
        if name in _LOGICAL and isinstance(inner, list):
            shown[name] = [_shape(part, left) for part in inner[: max(0, left[0])]]
        elif isinstance(inner, dict) and (name in _LOGICAL or _has_operators(inner)):
            shown[name] = _shape(inner, left)
        else:
            shown[name[:_SHAPE_CHARACTERS]] = _kind(inner)
    return shown


def _has_operators(value: Mapping[str, JsonValue]) -> bool:
    """Tell operators on a field from a value."""
    first = next(iter(value), "")
    return first.startswith("$") and first not in _EXTENDED


def _kind(value: JsonValue) -> str:
    if isinstance(value, list):
        return f"array of {len(value)}"
    if isinstance(value, dict) and len(value) == 1:
        return _EXTENDED.get(next(iter(value)), "object")
    return json_type(value).lower()
