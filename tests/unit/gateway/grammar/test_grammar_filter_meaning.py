"""Filters mean what their clauses mean.

Two evaluators, both naive: one reads clauses as the Data API's users do, with `$not` turned round operator by operator;
the other reads the store's messages as their contract says. They agree on every clause and document.
"""

import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from orrery.store.v1 import store_pb2 as pb

from services.documents.codec import JsonObject, JsonValue, decode
from services.documents.paths import MISSING, Missing, parse_path, value_at
from services.documents.values import Timestamp, equal, is_scalar, scalar_of
from services.gateway.collection import Collection, CollectionOptions
from services.gateway.grammar.filter import parse_filter
from services.gateway.limits import Limits

COLLECTION = Collection("default", "default_keyspace", "planets", "uid", CollectionOptions())
LIMITS = Limits(filter_conditions=1000)

Typed = tuple[str, object]


def typed(value: JsonValue) -> Typed:
    """Return a scalar with the type in which it compares."""
    scalar = scalar_of(value)
    if scalar is None:
        return "null", None
    if isinstance(scalar, bool):
        return "boolean", scalar
    if isinstance(scalar, int | Decimal):
        return "number", Decimal(scalar)
    return ("date", scalar.millis) if isinstance(scalar, Timestamp) else ("string", scalar)


def is_same(left: JsonValue, right: JsonValue) -> bool:
    """Tell whether two values are equal, scalars by type and value."""
    if is_scalar(left) and is_scalar(right):
        return typed(left) == typed(right)
    return equal(left, right)


# --- clauses, as users read them --------------------------------------------


def clause_holds(clause: JsonObject, document: JsonObject, negated: bool = False) -> bool | None:
    """Tell whether a clause matches; None when it has no condition and is left out."""
    members = [member_holds(name, value, document, negated) for name, value in clause.items()]
    return joined(members, any if negated else all)


def member_holds(name: str, value: JsonValue, document: JsonObject, negated: bool) -> bool | None:
    if name in ("$and", "$or"):
        assert isinstance(value, list)
        branches = [clause_holds(item, document, negated) for item in value if isinstance(item, dict)]
        return joined(branches, any if (name == "$or") != negated else all)
    if name == "$not":
        assert isinstance(value, dict)
        return clause_holds(value, document, not negated)
    found = value_at(document, parse_path(name))
    assert isinstance(value, dict)
    return joined(
        [condition_holds(operator, operand, found, negated) for operator, operand in value.items()],
        any if negated else all,
    )


def joined(results: list[bool | None], join: Callable[[list[bool]], bool]) -> bool | None:
    present = [result for result in results if result is not None]
    return join(present) if present else None


TURNED = {"$gt": "$lte", "$gte": "$lt", "$lt": "$gte", "$lte": "$gt"}


def condition_holds(operator: str, operand: JsonValue, found: JsonValue | Missing, negated: bool) -> bool:
    if operator in TURNED:
        # A range turned round is still a range: missing fields and other types do not match it either.
        return within(TURNED[operator] if negated else operator, operand, found)
    return plain_condition_holds(operator, operand, found) != negated


def plain_condition_holds(operator: str, operand: JsonValue, found: JsonValue | Missing) -> bool:
    if operator == "$exists":
        return (found is not MISSING) == operand
    if operator == "$ne":
        return not plain_condition_holds("$eq", operand, found)
    if operator == "$nin":
        return not plain_condition_holds("$in", operand, found)
    if isinstance(found, Missing):
        return False
    if operator == "$size":
        return isinstance(found, list) and len(found) == operand
    if operator == "$eq":
        return equals(operand, found, null_in_arrays=False)
    assert isinstance(operand, list)
    if operator == "$in":
        return any(equals(item, found, null_in_arrays=True) for item in operand)
    assert operator == "$all"
    elements = found if isinstance(found, list) else [found] if is_scalar(found) else []
    return all(any(is_same(item, element) for element in elements) for item in operand)


def equals(operand: JsonValue, found: JsonValue, *, null_in_arrays: bool) -> bool:
    if is_same(operand, found):
        return True
    looks_inside = is_scalar(operand) and (operand is not None or null_in_arrays)
    return looks_inside and isinstance(found, list) and any(is_same(operand, element) for element in found)


def within(operator: str, operand: JsonValue, found: JsonValue | Missing) -> bool:
    if isinstance(found, Missing) or not is_scalar(found):
        return False
    (kind, bound), (found_kind, value) = typed(operand), typed(found)
    if kind != found_kind:
        return False
    less, more = bool(value < bound), bool(value > bound)  # type: ignore[operator]
    return {"$gt": more, "$gte": not less, "$lt": less, "$lte": not more}[operator]


# --- messages, as their contract reads --------------------------------------


def message_holds(message: pb.Filter, document: JsonObject) -> bool:
    node = message.WhichOneof("node")
    if node == "all_of":
        return all(message_holds(item, document) for item in message.all_of.filters)
    if node == "any_of":
        return any(message_holds(item, document) for item in message.any_of.filters)
    if node == "negated":
        return not message_holds(message.negated, document)
    return message_condition_holds(message.condition, value_at(document, tuple(message.condition.path.segments)))


def message_condition_holds(condition: pb.Condition, found: JsonValue | Missing) -> bool:
    test = condition.WhichOneof("test")
    if test == "exists":
        return condition.exists == (not isinstance(found, Missing))
    if isinstance(found, Missing):
        return False
    if test == "equals":
        return is_value(condition.equals, found) or (
            not condition.equals.HasField("composite")
            and not condition.equals.HasField("null")
            and has_element(condition.equals, found)
        )
    if test == "in":
        values = getattr(condition, "in").values
        return any(
            is_value(value, found) or (not value.HasField("composite") and has_element(value, found))
            for value in values
        )
    if test == "contains_all":
        return all(
            has_element(value, found) if isinstance(found, list) else is_scalar(found) and is_value(value, found)
            for value in condition.contains_all.values
        )
    if test == "size":
        return isinstance(found, list) and len(found) == condition.size
    assert test == "range"
    return is_scalar(found) and in_range(condition.range, typed(found))


def message_scalar(value: pb.Value) -> Typed:
    kind = value.WhichOneof("kind")
    if kind == "number":
        return "number", Decimal(value.number)
    names = {"null": "null", "boolean": "boolean", "text": "string", "timestamp_millis": "date"}
    return names[str(kind)], None if kind == "null" else getattr(value, str(kind))


def is_value(value: pb.Value, found: JsonValue) -> bool:
    if value.HasField("composite"):
        return equal(decode(value.composite), found)
    return is_scalar(found) and typed(found) == message_scalar(value)


def has_element(value: pb.Value, found: JsonValue) -> bool:
    return isinstance(found, list) and any(is_value(value, element) for element in found)


def in_range(bounds: pb.Range, found: Typed) -> bool:
    for name, compare in BOUNDS.items():
        if bounds.HasField(name):  # type: ignore[arg-type]
            kind, bound = message_scalar(getattr(bounds, name))
            if kind != found[0] or not compare(found[1], bound):
                return False
    return True


BOUNDS: dict[str, Callable[[Any, Any], Any]] = {
    "greater_than": operator.gt,
    "at_least": operator.ge,
    "less_than": operator.lt,
    "at_most": operator.le,
}


# --- clauses and documents --------------------------------------------------

UUID = "0192AE3B-0000-4000-8000-00000000000A"
SCALARS: list[JsonValue] = [
    None,
    0,
    1,
    Decimal("1.0"),
    2,
    "",
    "x",
    UUID.lower(),
    True,
    False,
    {"$date": 1},
    {"$date": 2},
    {"$uuid": UUID},
]
WHOLES: list[JsonValue] = [
    [],
    [1],
    [None],
    ["x", 1],
    [[1]],
    [{"x": 1}],
    {},
    {"x": 1},
    {"x": 1, "y": "x"},
    {"y": "x", "x": 1},
]
ALONGSIDE: list[JsonObject] = [{}, {"b": 1}, {"b": {"y": True}}]
#: Every value at `a`, missing included, beside some at `b`.
DOCUMENTS: list[JsonObject] = [
    {**first, **second} for first in ({}, *({"a": value} for value in SCALARS + WHOLES)) for second in ALONGSIDE
]

bounds = st.sampled_from([value for value in SCALARS if value is not None])
values = st.sampled_from(SCALARS + WHOLES)
operands: dict[str, st.SearchStrategy[JsonValue]] = {
    "$eq": values,
    "$ne": values,
    "$gt": bounds,
    "$gte": bounds,
    "$lt": bounds,
    "$lte": bounds,
    "$in": st.lists(values, max_size=3),
    "$nin": st.lists(values, max_size=3),
    "$exists": st.booleans(),
    "$all": st.lists(values, min_size=1, max_size=2),
    "$size": st.integers(0, 2),
}


def one_or_two(members: dict[str, st.SearchStrategy[JsonValue]]) -> st.SearchStrategy[JsonObject]:
    pairs = [st.tuples(st.just(name), value) for name, value in members.items()]
    return st.lists(st.one_of(pairs), min_size=1, max_size=2).map(lambda chosen: dict(chosen))


conditions: st.SearchStrategy[JsonValue] = st.just({}) | one_or_two(operands)
clauses = st.recursive(
    one_or_two(dict.fromkeys(("a", "a.x", "a.0", "b", "b.y"), conditions)),
    lambda below: one_or_two(
        {"$and": st.lists(below, max_size=2), "$or": st.lists(below, max_size=2), "$not": below, "a": conditions}
    ),
    max_leaves=6,
)


@settings(max_examples=500, deadline=None)
@given(clauses)
def test_a_filter_matches_the_documents_that_its_clause_describes(clause: JsonObject) -> None:
    message = parse_filter(clause, COLLECTION, LIMITS)

    for document in DOCUMENTS:
        wanted = clause_holds(clause, document)
        assert (None if message is None else message_holds(message, document)) == wanted, document
