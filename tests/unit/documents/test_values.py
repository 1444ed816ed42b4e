"""Values: one order over all scalars, as bytes; equality; the identity of ids."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.documents.codec import JsonValue
from services.documents.values import (
    Scalar,
    Timestamp,
    composite_key,
    display_id,
    equal,
    extension_of,
    id_key,
    order_key,
    scalar_of,
    value_key,
)

UUID = "9c5b94b1-35ad-49bb-b118-8e8fc24abf80"
RANKS = [type(None), int, str, bool, Timestamp]

NUMBERS = st.one_of(
    st.integers(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.integers(-20, 20),
    st.builds(lambda digits, exponent: Decimal(f"{digits}E{exponent}"), st.integers(-99, 99), st.integers(-9, 9)),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("a\uffff\U0001f600\U00010000\ud7ff\ue000"))
SCALARS: st.SearchStrategy[Scalar] = st.one_of(
    st.none(), NUMBERS, TEXTS, st.booleans(), st.integers(-(2**63), 2**63).map(Timestamp)
)


def rank_and_worth(scalar: Any) -> tuple[int, Any]:
    """Return what Python compares a scalar by."""
    if isinstance(scalar, bool):
        return 3, scalar
    if isinstance(scalar, Decimal):
        return 1, scalar
    if isinstance(scalar, str):
        return 2, scalar.encode("utf-16-be", "surrogatepass")
    return RANKS.index(type(scalar)), 0 if scalar is None else scalar


@given(left=SCALARS, right=SCALARS)
def test_keys_compare_as_scalars_do(left: Scalar, right: Scalar) -> None:
    one, other = rank_and_worth(left), rank_and_worth(right)

    assert (order_key(left) < order_key(right)) == (one < other)
    assert (order_key(left) == order_key(right)) == (one == other)


@given(left=NUMBERS, right=NUMBERS)
def test_numbers_compare_by_value_whatever_their_form(left: int | Decimal, right: int | Decimal) -> None:
    assert (order_key(left) < order_key(right)) == (left < right)
    assert (order_key(left) == order_key(right)) == (left == right)


@pytest.mark.parametrize("same", [("0", "-0", "0.00", "0E+5"), ("100", "1E+2", "100.0"), ("-0.5", "-5E-1")])
def test_numbers_of_equal_value_have_one_key(same: tuple[str, ...]) -> None:
    assert len({order_key(Decimal(text)) for text in same}) == 1


def test_numbers_beyond_floats_keep_their_order() -> None:
    numbers: list[int | Decimal] = [
        Decimal("-1e400"),
        -(10**40) - 1,
        -(10**40),
        Decimal("1e-400"),
        10**40,
        10**40 + 1,
        Decimal("1e400"),
    ]

    assert [order_key(number) for number in numbers] == sorted(order_key(number) for number in numbers)


@pytest.mark.parametrize(
    ("value", "scalar"),
    [
        ({"$date": 5}, Timestamp(5)),
        ({"$uuid": UUID.upper()}, UUID),
        ({"$objectId": "507F191E810C19729DE860EA"}, "507f191e810c19729de860ea"),
        ({"$binary": "AAAA"}, "AAAA"),
        (None, None),
        (Decimal("1.5"), Decimal("1.5")),
    ],
)
def test_scalars_as_comparisons_see_them(value: JsonValue, scalar: Scalar) -> None:
    assert scalar_of(value) == scalar


@pytest.mark.parametrize("value", [[], {}, {"a": 1}, {"$date": "x"}, {"$date": True}, {"$uuid": "x"}, {"$uuid": 5}])
def test_what_is_no_scalar(value: JsonValue) -> None:
    with pytest.raises(ValueError, match="not a scalar"):
        scalar_of(value)


def test_extensions_are_objects_with_one_known_member() -> None:
    assert extension_of({"$date": "anything"}) == "$date"
    others: list[JsonValue] = [{"$date": 1, "x": 2}, {"$unknown": 1}, {}, [], "$date"]
    for other in others:
        assert extension_of(other) is None


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([Decimal("1.0"), Decimal("1.5"), "a", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@given(left=JSON, right=JSON)
def test_composites_have_one_key_exactly_when_equal(left: JsonValue, right: JsonValue) -> None:
    assert (composite_key(left) == composite_key(right)) == equal(left, right)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
        ([1, Decimal("2.0")], [Decimal("1.00"), 2], True),
        ([1, 2], [2, 1], False),
        (True, 1, False),
        (0, False, False),
        ("1", 1, False),
        (None, 0, False),
        ({}, [], False),
    ],
)
def test_equality(left: JsonValue, right: JsonValue, same: bool) -> None:
    assert equal(left, right) is same
    assert (value_key(left) == value_key(right)) is same


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, Decimal("1.0"), True),
        (UUID, {"$uuid": UUID.upper()}, True),
        ("5", 5, False),
        (True, 1, False),
        ({"$date": 5}, 5, False),
        (None, "null", False),
    ],
)
def test_ids(left: JsonValue, right: JsonValue, same: bool) -> None:
    assert (id_key(left) == id_key(right)) is same


@pytest.mark.parametrize("value", [[], {}, {"$binary": "AAAA"}, {"$uuid": "x"}, {"$date": "x"}])
def test_what_is_no_id(value: JsonValue) -> None:
    with pytest.raises(ValueError, match="not a"):
        id_key(value)


def test_ids_are_shown_in_lower_case_only_where_they_are_wrapped() -> None:
    assert display_id({"$uuid": UUID.upper()}) == {"$uuid": UUID}
    assert display_id(UUID.upper()) == UUID.upper()
    assert display_id({"$date": 5}) == {"$date": 5}
