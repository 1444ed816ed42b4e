"""Update operators: each against a second, plainer implementation, and the documented cases one by one."""

from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.documents.codec import JsonObject, JsonValue, decode_object, encode
from services.documents.values import equal
from services.runtime.errors import DataApiError
from services.store.updates import Operation, apply_operations, compare
from tests.unit.store.naive import GONE
from tests.unit.store.strategies import BODIES, NAMES, NUMBERS, STRINGS, VALUES

NOW = 1_700_000_000_000


def update(content: JsonObject, *operations: Operation, creating: bool = False, max_elements: int = 1000) -> bool:
    return apply_operations(content, operations, creating=creating, now_millis=NOW, max_elements=max_elements)


# --- a second implementation: by recursion, with a new value for every place -------------------------------


class RefusedError(Exception):
    """The operation does not fit the document."""


Change = Callable[[Any], Any]


def at_path(value: Any, path: tuple[str, ...], change: Change, create: bool) -> Any:
    """Return a value with what is at a path replaced by `change` of it; `GONE` stands for missing, before and after."""
    if not path:
        return change(value)
    segment, rest = path[0], path[1:]
    if value is GONE:
        if not create:
            return GONE
        value = {}
    if isinstance(value, dict):
        new = at_path(value.get(segment, GONE), rest, change, create)
        if new is GONE:
            return {name: item for name, item in value.items() if name != segment}
        return {**value, segment: new}
    if isinstance(value, list) and segment.isdecimal():
        index = int(segment)
        old = value[index] if index < len(value) else GONE
        new = at_path(old, rest, change, create)
        if new is GONE:
            return value if old is GONE else [*value[:index], None, *value[index + 1 :]]
        padded = value + [None] * (index - len(value))
        return [*padded[:index], new, *padded[index + 1 :]]
    if create:
        raise RefusedError
    return value


def order_of(value: Any) -> Any:
    """Return something to compare `$min` and `$max` values of one type by."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | Decimal):
        return Fraction(value)
    return value.encode("utf-16-be", "surrogatepass")


def naive_change(operation: Operation) -> Change:
    """Return what an operator makes of the value at its path."""
    argument: Any = operation.value

    def number(value: Any) -> Fraction:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise RefusedError
        return Fraction(value)

    def decimal(value: Fraction) -> int | Decimal:
        with localcontext(prec=_DIGITS):
            return int(value) if value.denominator == 1 else Decimal(value.numerator) / Decimal(value.denominator)

    def array(value: Any) -> list[Any]:
        if value is GONE:
            return []
        if not isinstance(value, list):
            raise RefusedError
        return list(value)

    def push(value: Any) -> Any:
        old, position = array(value), operation.position
        if position is None:
            return old + argument
        place = min(position, len(old)) if position >= 0 else max(len(old) + position, 0)
        return old[:place] + argument + old[place:]

    def add_to_set(value: Any) -> Any:
        new = array(value)
        for item in argument:
            new += [] if any(equal(item, other) for other in new) else [item]
        return new

    def pop(value: Any) -> Any:
        if value is GONE:
            return GONE
        return array(value)[1:] if argument == -1 else array(value)[:-1]

    return {
        "$set": lambda value: argument,
        "$unset": lambda value: GONE,
        "$inc": lambda value: argument if value is GONE else decimal(number(value) + number(argument)),
        "$mul": lambda value: 0 if value is GONE else decimal(number(value) * number(argument)),
        "$min": lambda value: argument if value is GONE or compare(argument, value) < 0 else value,
        "$max": lambda value: argument if value is GONE or compare(argument, value) > 0 else value,
        "$push": push,
        "$addToSet": add_to_set,
        "$pop": pop,
        "$currentDate": lambda value: {"$date": NOW},
    }[operation.operator]


def naive_update(content: Any, operations: list[Operation]) -> Any:
    for operation in operations:
        create = operation.operator not in ("$unset", "$pop")
        content = at_path(content, operation.path, naive_change(operation), create)
    return content


#: As many as any sum or product of two of the numbers has.
_DIGITS = 200
PATHS = st.lists(st.sampled_from([*NAMES, "2"]), min_size=1, max_size=3).map(tuple)
LISTS = st.lists(VALUES, max_size=3)
OPERATIONS = st.one_of(
    st.builds(Operation, st.sampled_from(["$set", "$min", "$max"]), PATHS, VALUES),
    st.builds(Operation, st.sampled_from(["$inc", "$mul"]), PATHS, NUMBERS),
    st.builds(Operation, st.sampled_from(["$unset", "$currentDate"]), PATHS),
    st.builds(Operation, st.just("$push"), PATHS, LISTS, st.none() | st.integers(-4, 4)),
    st.builds(Operation, st.just("$addToSet"), PATHS, LISTS),
    st.builds(Operation, st.just("$pop"), PATHS, st.sampled_from([-1, 1])),
)


@settings(max_examples=500, deadline=None)
@given(content=BODIES, operations=st.lists(OPERATIONS, min_size=1, max_size=2))
def test_updates_as_a_plainer_implementation_does(content: JsonObject, operations: list[Operation]) -> None:
    before, changed_to = decode_object(encode(content)), decode_object(encode(content))
    try:
        expected = naive_update(before, operations)
    except RefusedError:
        with pytest.raises(DataApiError, match="update"):
            update(changed_to, *operations)
        return

    changed = update(changed_to, *operations)

    assert _worth(changed_to) == _worth(expected)
    if not changed:
        assert encode(changed_to) == encode(content)


def _worth(value: Any) -> Any:
    """Return a value in a form that `==` compares by value, type and order of members."""
    if isinstance(value, dict):
        return [(name, _worth(item)) for name, item in value.items()]
    if isinstance(value, list):
        return ["array", *map(_worth, value)]
    if isinstance(value, int | Decimal | Fraction) and not isinstance(value, bool):
        return "number", Fraction(value)
    return type(value).__name__, value


# --- one by one ---------------------------------------------------------------------------------------------


def test_set_on_insert_only_when_creating() -> None:
    operation = Operation("$setOnInsert", ("a",), 1)
    existing: JsonObject = {}
    created: JsonObject = {}

    assert not update(existing, operation)
    assert update(created, operation, creating=True)
    assert (existing, created) == ({}, {"a": 1})


def test_documents_do_not_share_what_an_operation_gave_them() -> None:
    operations = (
        Operation("$set", ("a",), [[]]),
        Operation("$push", ("a", "0"), [{"x": 1}]),
        Operation("$inc", ("a", "0", "0", "x"), 1),
    )
    first: JsonObject = {}
    second: JsonObject = {}

    update(first, *operations)
    update(second, *operations)

    assert first == second == {"a": [[{"x": 2}]]}


def test_parents_are_created_as_objects_even_for_digits() -> None:
    content: JsonObject = {}

    update(content, Operation("$set", ("a", "0", "b"), 1))

    assert content == {"a": {"0": {"b": 1}}}


def test_an_array_is_filled_up_with_null() -> None:
    content: JsonObject = {"a": [1]}

    update(content, Operation("$set", ("a", "3"), 9))

    assert content == {"a": [1, None, None, 9]}


@pytest.mark.parametrize("index", ["1000", "99999999999999999", "9" * 18])
def test_an_index_far_beyond_the_end_is_refused_before_anything_is_filled(index: str) -> None:
    content: JsonObject = {"a": {"b": [1]}}

    with pytest.raises(DataApiError, match="limit on documents") as refused:
        update(content, Operation("$set", ("a", "b", index), 9))
    assert refused.value.code == "SHRED_DOC_LIMIT_VIOLATION"
    assert content == {"a": {"b": [1]}}


def test_sums_and_products_are_exact() -> None:
    content: JsonObject = {"tenths": Decimal("0.1"), "big": 10**40, "half": Decimal("0.5")}

    update(
        content,
        Operation("$inc", ("tenths",), Decimal("0.2")),
        Operation("$inc", ("big",), 1),
        Operation("$mul", ("half",), 3),
    )

    assert encode(content) == b'{"tenths":0.3,"big":%d,"half":1.5}' % (10**40 + 1)


def test_a_result_too_long_to_be_exact_is_refused() -> None:
    with pytest.raises(DataApiError, match="too many digits"):
        update({"n": Decimal("1e5000")}, Operation("$inc", ("n",), Decimal("1e-5000")))


@pytest.mark.parametrize(
    ("operator", "value", "target"),
    [
        ("$inc", 1, "text"),
        ("$inc", 1, None),
        ("$mul", 1, True),
        ("$push", [1], None),
        ("$push", [1], {"0": 1}),
        ("$addToSet", [1], 5),
        ("$pop", 1, "text"),
    ],
)
def test_a_target_of_the_wrong_type_is_refused(operator: str, value: JsonValue, target: JsonValue) -> None:
    with pytest.raises(DataApiError, match=r"a\.b") as refused:
        update({"a": {"b": target}}, Operation(operator, ("a", "b"), value))
    assert refused.value.code == "UNSUPPORTED_UPDATE_OPERATION_TARGET"
    assert refused.value.details["operator"] == operator


@pytest.mark.parametrize(
    ("content", "path"),
    [({"a": 5}, ("a", "b")), ({"a": None}, ("a", "b")), ({"a": [1]}, ("a", "x")), ({"a": [1]}, ("a", "01"))],
)
def test_a_path_that_cannot_go_on_is_refused(content: JsonObject, path: tuple[str, ...]) -> None:
    with pytest.raises(DataApiError) as refused:
        update(content, Operation("$set", path, 1))
    assert refused.value.code == "UNSUPPORTED_UPDATE_OPERATION_PATH"


@pytest.mark.parametrize("operator", ["$unset", "$pop"])
@pytest.mark.parametrize("path", [("a", "b"), ("a", "0", "c"), ("l", "x"), ("l", "9")])
def test_removal_passes_over_paths_that_are_not_there(operator: str, path: tuple[str, ...]) -> None:
    content: JsonObject = {"a": 5, "l": [1]}

    assert not update(content, Operation(operator, path, 1))
    assert content == {"a": 5, "l": [1]}


def test_rename_moves_a_value_over_another() -> None:
    content: JsonObject = {"a": {"x": 1}, "b": 2}

    assert update(content, Operation("$rename", ("a", "x"), target=("c", "d")))
    assert update(content, Operation("$rename", ("b",), target=("c",)))
    assert content == {"a": {}, "c": 2}


def test_rename_below_itself() -> None:
    content: JsonObject = {"a": {"x": 1}}

    assert update(content, Operation("$rename", ("a",), target=("a", "b")))
    assert content == {"a": {"b": {"x": 1}}}


def test_rename_of_nothing_does_nothing() -> None:
    content: JsonObject = {"b": 5}

    assert not update(content, Operation("$rename", ("a",), target=("b", "c")))
    assert content == {"b": 5}


@pytest.mark.parametrize(("source", "target"), [(("l", "0"), ("b",)), (("a",), ("l", "0")), (("a",), ("l", "x"))])
def test_rename_does_not_work_in_arrays(source: tuple[str, ...], target: tuple[str, ...]) -> None:
    with pytest.raises(DataApiError) as refused:
        update({"a": 1, "l": [1]}, Operation("$rename", source, target=target))
    assert refused.value.code == "UNSUPPORTED_UPDATE_OPERATION_PATH"


@pytest.mark.parametrize(("position", "expected"), [(0, [9, 1, 2]), (-1, [1, 9, 2]), (-9, [9, 1, 2]), (9, [1, 2, 9])])
def test_push_at_a_position(position: int, expected: list[int]) -> None:
    content: JsonObject = {"l": [1, 2]}

    update(content, Operation("$push", ("l",), [9], position))

    assert content == {"l": expected}


def test_a_set_tells_objects_by_the_order_of_their_members() -> None:
    content: JsonObject = {"l": [{"a": 1, "b": 2}]}

    assert not update(content, Operation("$addToSet", ("l",), [{"a": 1, "b": Decimal("2.0")}]))
    assert update(content, Operation("$addToSet", ("l",), [{"b": 2, "a": 1}]))


def test_current_date_is_one_instant() -> None:
    content: JsonObject = {}

    update(content, Operation("$currentDate", ("a",)), Operation("$currentDate", ("b", "c")))

    assert content == {"a": {"$date": NOW}, "b": {"c": {"$date": NOW}}}


SORTED: list[JsonValue] = [
    None,
    Decimal("-1.5"),
    2,
    "",
    "a",
    "\U0001f600",
    "\uffff",
    {},
    {"a": 1},
    {"a": 1, "b": 0},
    {"a": 2},
    {"b": 0},
    [],
    [1],
    [1, 0],
    [2],
    False,
    True,
]


@pytest.mark.parametrize("lower", range(len(SORTED) - 1))
def test_the_order_of_minimum_and_maximum(lower: int) -> None:
    assert compare(SORTED[lower], SORTED[lower + 1]) == -1
    assert compare(SORTED[lower + 1], SORTED[lower]) == 1


@given(left=STRINGS | NUMBERS, right=STRINGS | NUMBERS)
def test_scalars_of_one_type_are_compared_by_value(left: JsonValue, right: JsonValue) -> None:
    if isinstance(left, str) != isinstance(right, str):
        assert compare(left, right) == (1 if isinstance(left, str) else -1)
    else:
        below, above = order_of(left), order_of(right)
        assert compare(left, right) == (below > above) - (below < above)
