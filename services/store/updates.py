"""Update operators: a document and operations in, a changed document out. Pure functions.

Semantics are the Data API's (operators, creation of missing parents, order of types for `$min` and `$max`).
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow
from typing import Any

from services.documents.codec import JsonObject, JsonValue, json_type
from services.documents.paths import MISSING, Missing, Path, array_index, format_path, value_at
from services.documents.values import equal, order_key, scalar_of
from services.runtime.errors import DataApiError

#: Sums and products are exact or refused: a result of more digits than these springs the trap.
_EXACT = Context(prec=1000, traps=[Inexact, Overflow, InvalidOperation])


@dataclass(frozen=True, slots=True)
class Operation:
    """One change: an operator, a path, and the operator's argument.

    `value` is the argument; for `$push` and `$addToSet` the list of values, for `$rename` unused. `position` is
    that of `$push`, `target` the path of `$rename`.
    """

    operator: str
    path: Path
    value: JsonValue = None
    position: int | None = None
    target: Path = ()


def apply_operations(
    document: JsonObject,
    operations: Sequence[Operation],
    *,
    creating: bool,
    now_millis: int,
    max_elements: int,
) -> bool:
    """Change a document in place and tell whether it is different now.

    `creating` lets `$setOnInsert` take effect; `now_millis` is the instant of `$currentDate`. No array is filled
    up with null to more than `max_elements`.

    Raises `DataApiError` `UNSUPPORTED_UPDATE_OPERATION_PATH` or `_TARGET` where an operation does not fit the
    document, `SHRED_DOC_LIMIT_VIOLATION` for too long an array. The document is then half changed: throw it away.
    """
    changed = False
    for operation in operations:
        if operation.operator == "$setOnInsert" and not creating:
            continue
        if isinstance(operation.value, list | dict):
            # The document's own from here on: a later operation may change it, and other documents get it too.
            operation = replace(operation, value=deepcopy(operation.value))
        _check_indexes(document, operation.path, max_elements)
        _check_indexes(document, operation.target, max_elements)
        if operation.operator == "$currentDate":
            changed |= _set(document, operation, {"$date": now_millis})
        else:
            changed |= _OPERATORS[operation.operator](document, operation)
    return changed


def _check_indexes(document: JsonObject, path: Path, max_elements: int) -> None:
    """Refuse a path whose index would make an array too long, before anything is filled up."""
    value: JsonValue | Missing = document
    for at, segment in enumerate(path):
        index = array_index(segment) if isinstance(value, list) else None
        if isinstance(value, list) and index is not None and index >= max(len(value), max_elements):
            raise DataApiError(
                "SHRED_DOC_LIMIT_VIOLATION",
                problem=f"the array '{format_path(path[:at])}' would have {index + 1} elements",
            )
        value = MISSING if isinstance(value, Missing) else value_at(value, (segment,))


# --- operators --------------------------------------------------------------


def _set_value(document: JsonObject, operation: Operation) -> bool:
    return _set(document, operation, operation.value)


def _set(document: JsonObject, operation: Operation, value: JsonValue) -> bool:
    place = _Place.creating(document, operation.path)
    current = place.get()
    if not isinstance(current, Missing) and equal(current, value):
        return False
    place.put(value)
    return True


def _unset(document: JsonObject, operation: Operation) -> bool:
    place = _Place.existing(document, operation.path)
    if place is None or isinstance(current := place.get(), Missing):
        return False
    if isinstance(place.parent, list):
        place.put(None)
        return current is not None
    place.remove()
    return True


def _arithmetic(compute: Callable[[Decimal, Decimal], Decimal], missing: JsonValue) -> "_Operator":
    def apply(document: JsonObject, operation: Operation) -> bool:
        place = _Place.creating(document, operation.path)
        current = place.get()
        if isinstance(current, Missing):
            place.put(operation.value if missing is None else missing)
            return True
        if isinstance(current, bool) or not isinstance(current, int | Decimal):
            raise _wrong_target(operation, "a number", current)
        result = _number(current, operation.value, compute)
        if result == current:
            return False
        place.put(result)
        return True

    return apply


def _number(left: int | Decimal, right: JsonValue, compute: Callable[[Decimal, Decimal], Decimal]) -> int | Decimal:
    """Compute exactly: integers stay integers of any size, the rest is decimal."""
    assert isinstance(right, int | Decimal)
    try:
        result = compute(Decimal(left), Decimal(right))
    except DecimalException:
        raise DataApiError(
            "UNSUPPORTED_UPDATE_OPERATION_PARAM", problem="the result has too many digits to be exact"
        ) from None
    return int(result) if isinstance(left, int) and isinstance(right, int) else result


def _extreme(wanted: int) -> "_Operator":
    def apply(document: JsonObject, operation: Operation) -> bool:
        place = _Place.creating(document, operation.path)
        current = place.get()
        if not isinstance(current, Missing) and compare(operation.value, current) != wanted:
            return False
        place.put(operation.value)
        return True

    return apply


def _rename(document: JsonObject, operation: Operation) -> bool:
    place = _Place.existing(document, operation.path)
    if place is None or isinstance(current := place.get(), Missing):
        return False
    if isinstance(place.parent, list):
        raise _bad_path(operation, operation.path, "$rename cannot take its source from an array")
    target = _Place.creating(document, operation.target, operation)
    if isinstance(target.parent, list):
        raise _bad_path(operation, operation.target, "$rename cannot put its target into an array")
    place.remove()
    # The source may have been the target's parent's member: find the target again.
    _Place.creating(document, operation.target, operation).put(current)
    return True


def _push(document: JsonObject, operation: Operation) -> bool:
    array = _array(document, operation)
    values = operation.value if isinstance(operation.value, list) else []
    at = len(array) if operation.position is None else operation.position
    start = max(0, len(array) + at) if at < 0 else min(at, len(array))
    array[start:start] = values
    return True


def _add_to_set(document: JsonObject, operation: Operation) -> bool:
    values = operation.value if isinstance(operation.value, list) else []
    place = _Place.creating(document, operation.path)
    changed = isinstance(place.get(), Missing)
    array = _array(document, operation)
    for value in values:
        if not any(equal(value, item) for item in array):
            array.append(value)
            changed = True
    return changed


def _array(document: JsonObject, operation: Operation) -> list[JsonValue]:
    place = _Place.creating(document, operation.path)
    current = place.get()
    if isinstance(current, Missing):
        created: list[JsonValue] = []
        place.put(created)
        return created
    if not isinstance(current, list):
        raise _wrong_target(operation, "an array", current)
    return current


def _pop(document: JsonObject, operation: Operation) -> bool:
    place = _Place.existing(document, operation.path)
    if place is None or isinstance(current := place.get(), Missing):
        return False
    if not isinstance(current, list):
        raise _wrong_target(operation, "an array", current)
    if not current:
        return False
    current.pop(0 if operation.value == -1 else -1)
    return True


_Operator = Callable[[JsonObject, Operation], bool]

_OPERATORS: dict[str, _Operator] = {
    "$set": _set_value,
    "$setOnInsert": _set_value,
    "$unset": _unset,
    "$inc": _arithmetic(_EXACT.add, None),
    "$mul": _arithmetic(_EXACT.multiply, 0),
    "$min": _extreme(-1),
    "$max": _extreme(1),
    "$rename": _rename,
    "$push": _push,
    "$addToSet": _add_to_set,
    "$pop": _pop,
}


# --- places in a document ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a path's last segment: the object or array it is in, and its name or index there."""

    parent: JsonObject | list[JsonValue]
    key: str | int

    @classmethod
    def creating(cls, document: JsonObject, path: Path, operation: Operation | None = None) -> "_Place":
        """Return the place of a path, with objects created for parents that are missing.

        Raises `UNSUPPORTED_UPDATE_OPERATION_PATH` where the path cannot go on.
        """
        parent: JsonObject | list[JsonValue] = document
        for at, segment in enumerate(path[:-1]):
            place = cls(parent, _key(parent, segment, path))
            value = place.get()
            if isinstance(value, Missing):
                value = {}
                place.put(value)
            if not isinstance(value, dict | list):
                where = format_path(path[: at + 1])
                raise _bad_path(operation, path, f"'{where}' is of JSON type {json_type(value)}, without members")
            parent = value
        return cls(parent, _key(parent, path[-1], path))

    @classmethod
    def existing(cls, document: JsonObject, path: Path) -> "_Place | None":
        """Return the place of a path; None where its parents do not exist."""
        parent: JsonObject | list[JsonValue] = document
        for segment in path[:-1]:
            if isinstance(parent, list) and array_index(segment) is None:
                return None
            value = cls(parent, _key(parent, segment, path)).get()
            if not isinstance(value, dict | list):
                return None
            parent = value
        if isinstance(parent, list) and array_index(path[-1]) is None:
            return None
        return cls(parent, _key(parent, path[-1], path))

    def get(self) -> JsonValue | Missing:
        """Return the value in the place."""
        if isinstance(self.parent, dict):
            return self.parent.get(str(self.key), MISSING)
        index = int(self.key)
        return self.parent[index] if index < len(self.parent) else MISSING

    def put(self, value: JsonValue) -> None:
        """Put a value in the place; an array that is too short is filled up with null."""
        if isinstance(self.parent, dict):
            self.parent[str(self.key)] = value
            return
        index = int(self.key)
        self.parent.extend([None] * (index + 1 - len(self.parent)))
        self.parent[index] = value

    def remove(self) -> None:
        """Take a member out of its object."""
        if isinstance(self.parent, dict):
            del self.parent[str(self.key)]


def _key(parent: JsonObject | list[JsonValue], segment: str, path: Path) -> str | int:
    if isinstance(parent, dict):
        return segment
    index = array_index(segment)
    if index is None:
        raise _bad_path(None, path, f"'{segment}' is no index of an array")
    return index


def _bad_path(operation: Operation | None, path: Path, problem: str) -> DataApiError:
    operator = f"{operation.operator}: " if operation else ""
    return DataApiError("UNSUPPORTED_UPDATE_OPERATION_PATH", problem=f"{operator}'{format_path(path)}': {problem}")


def _wrong_target(operation: Operation, expected: str, found: JsonValue) -> DataApiError:
    return DataApiError(
        "UNSUPPORTED_UPDATE_OPERATION_TARGET",
        operator=operation.operator,
        expected=expected,
        path=format_path(operation.path),
        found=f"a value of JSON type {json_type(found)}",
    )


# --- the order of $min and $max ---------------------------------------------

_RANKS = {"Null": 0, "Number": 1, "String": 2, "Object": 3, "Array": 4, "Boolean": 5}


def compare(left: JsonValue, right: JsonValue) -> int:
    """Return -1, 0 or 1: the order of `$min` and `$max`.

    null < number < string < object < array < boolean. Objects go member by member (name, then value), then by
    size; arrays element by element, then by length.
    """
    ranks = _RANKS[json_type(left)], _RANKS[json_type(right)]
    if ranks[0] != ranks[1]:
        return _sign(*ranks)
    if isinstance(left, dict) and isinstance(right, dict):
        for (left_name, left_item), (right_name, right_item) in zip(left.items(), right.items(), strict=False):
            order = _compare_scalars(left_name, right_name) or compare(left_item, right_item)
            if order:
                return order
        return _sign(len(left), len(right))
    if isinstance(left, list) and isinstance(right, list):
        for left_item, right_item in zip(left, right, strict=False):
            if order := compare(left_item, right_item):
                return order
        return _sign(len(left), len(right))
    return _compare_scalars(left, right)


def _compare_scalars(left: JsonValue, right: JsonValue) -> int:
    """Compare two scalars of one type: numbers by value, strings by UTF-16 code units."""
    return _sign(order_key(scalar_of(left)), order_key(scalar_of(right)))


def _sign(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)
