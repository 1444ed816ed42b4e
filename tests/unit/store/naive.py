"""What values and filters mean, as slowly and plainly as the contract says it: the oracle of the property tests."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from services.documents.codec import JsonValue
from services.documents.values import Timestamp
from services.store.filters import AllOf, AnyOf, Composite, ContainsAll, Exists, Filter, In, Not, Range, Size

GONE = object()


def look_up(value: Any, path: Sequence[str]) -> Any:
    """Return the value at a path, `GONE` where there is none."""
    for segment in path:
        if isinstance(value, dict):
            value = value.get(segment, GONE)
        elif isinstance(value, list) and segment.isdecimal() and str(int(segment)) == segment:
            value = value[int(segment)] if int(segment) < len(value) else GONE
        else:
            return GONE
    return value


def kind_and_worth(value: Any) -> tuple[str, Any]:
    """Return a scalar's type and what it compares by, `("composite", None)` for the rest."""
    if value is None:
        return "null", 0
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, Timestamp):
        return "date", value.millis
    if isinstance(value, int | Decimal):
        return "number", Fraction(value)
    if isinstance(value, str):
        return "string", value.encode("utf-16-be", "surrogatepass")
    if isinstance(value, dict) and list(value) == ["$date"]:
        return "date", value["$date"]
    if isinstance(value, dict) and list(value) in (["$uuid"], ["$objectId"]):
        return kind_and_worth(next(iter(value.values())).lower())
    return "composite", None


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal: scalars by type and worth, the rest whole."""
    kind, worth = kind_and_worth(left)
    if kind != "composite" or kind_and_worth(right)[0] != "composite":
        return (kind, worth) == kind_and_worth(right)
    return _same_whole(left, right)


def _same_whole(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(map(_same_whole, left.values(), right.values()))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same_whole, left, right))
    if isinstance(left, dict | list) or isinstance(right, dict | list):
        return False
    return kind_and_worth(left) == kind_and_worth(right)


def matches(document: JsonValue, filter_: Filter) -> bool:
    """Tell whether a document matches, from the comments of the contract."""
    if isinstance(filter_, AllOf):
        return all(matches(document, item) for item in filter_.filters)
    if isinstance(filter_, AnyOf):
        return any(matches(document, item) for item in filter_.filters)
    if isinstance(filter_, Not):
        return not matches(document, filter_.filter)
    value = look_up(document, filter_.path)
    if value is GONE:
        return False
    elements = value if isinstance(value, list) else []
    if isinstance(filter_, Exists):
        return True
    if isinstance(filter_, In):
        return any(_equals(value, elements, operand, filter_.null_in_arrays) for operand in filter_.values)
    if isinstance(filter_, ContainsAll):
        if not isinstance(value, list):
            elements = [value] if kind_and_worth(value)[0] != "composite" else []
        return all(any(same(item, _plain(operand)) for item in elements) for operand in filter_.values)
    if isinstance(filter_, Size):
        return isinstance(value, list) and len(value) == filter_.size
    assert isinstance(filter_, Range)
    return _within(value, filter_)


def _plain(operand: Any) -> Any:
    return operand.value if isinstance(operand, Composite) else operand


def _equals(value: Any, elements: list[Any], operand: Any, null_in_arrays: bool) -> bool:
    if same(value, _plain(operand)):
        return True
    looks_inside = not isinstance(operand, Composite) and (operand is not None or null_in_arrays)
    return looks_inside and any(same(item, operand) for item in elements)


def _within(value: Any, range_: Range) -> bool:
    kind, worth = kind_and_worth(value)
    for bound, sign in ((range_.lower, 1), (range_.upper, -1)):
        if bound is None:
            continue
        bound_kind, bound_worth = kind_and_worth(bound[0])
        if kind != bound_kind:
            return False
        distance = (worth > bound_worth) - (worth < bound_worth)
        if distance * sign < (0 if bound[1] else 1):
            return False
    return True
