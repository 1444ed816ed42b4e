"""JSON in and out: exact, and with the counts that limits need."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.documents.codec import (
    JsonError,
    JsonValue,
    NestingError,
    decode,
    decode_object,
    encode,
    first_text,
    has_repeated_members,
    json_type,
    long_number,
    measure,
)

SCALARS = st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text()
JSON: st.SearchStrategy[JsonValue] = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(JSON)
def test_values_come_back(value: JsonValue) -> None:
    again = decode(encode(value))

    assert again == value
    assert encode(again) == encode(value)


@pytest.mark.parametrize(
    "text",
    ["123456789012345678901234567890", "0.1", "1.50", "-0.0", "1E+400", "3.141592653589793238462643383279502884197"],
)
def test_numbers_keep_every_digit(text: str) -> None:
    assert encode(decode(text.encode())) == text.encode()


def test_numbers_are_integers_or_decimals() -> None:
    assert decode(b"[1, 1.0, 1e2]") == [1, Decimal("1.0"), Decimal("1e2")]
    assert [type(number) for number in decode(b"[1, 1.0, 1e2]")] == [int, Decimal, Decimal]  # type: ignore[union-attr]


@pytest.mark.parametrize("text", [b"", b"{", b"{'a':1}", b"[1,]", b"NaN", b'"\xff"', b"1 2", b"1e99999999999999999999"])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(JsonError):
        decode(text)


def test_what_is_nested_without_end_is_refused() -> None:
    with pytest.raises(NestingError):
        decode(b"[" * 100_000)


def test_an_object_is_asked_for() -> None:
    assert decode_object(b'{"b":1,"a":2}') == {"b": 1, "a": 2}
    with pytest.raises(JsonError, match="found Array"):
        decode_object(b"[]")


def test_members_keep_their_order() -> None:
    assert encode(decode(b'{"b":1,"a":{"z":1,"y":2}}')) == b'{"b":1,"a":{"z":1,"y":2}}'


def test_measures() -> None:
    assert measure({"a": [1, {"longest": {}}], "b": "x"})._asdict() == {"members": 3, "depth": 4, "longest_name": 7}
    assert measure(5)._asdict() == {"members": 0, "depth": 0, "longest_name": 0}
    assert measure([])._asdict() == {"members": 0, "depth": 1, "longest_name": 0}


#: Texts in which colons, quotes and white space are frequent, to look like names and numbers where they are none.
TRICKY = st.text('":\\ \t\n{}[],a1e-', max_size=8)
TRICKY_JSON: st.SearchStrategy[JsonValue] = st.recursive(
    TRICKY | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(TRICKY, inner), max_leaves=20
)


def spelled(value: JsonValue, data: st.DataObject, repeat: bool) -> str:
    """Write JSON with white space anywhere and characters escaped at random; `repeat` names members twice."""
    space = data.draw(st.sampled_from(["", "", " ", "\t", "\r\n "]))
    if isinstance(value, list):
        return "[" + ",".join(space + spelled(item, data, repeat) for item in value) + space + "]"
    if isinstance(value, dict):
        members = [
            text
            for name, item in value.items()
            for text in [f"{json.dumps(name)}{space}:{space}{spelled(item, data, repeat)}"] * (1 + repeat)
        ]
        return "{" + f"{space},{space}".join(members) + "}"
    text = json.dumps(value)
    return text.replace(":", "\\u003a") if data.draw(st.booleans()) else text


def repeats(text: bytes) -> bool:
    value = decode(text)
    return has_repeated_members(text, value, measure(value).members)


@given(TRICKY_JSON, st.data())
def test_repeated_names_are_found(value: JsonValue, data: st.DataObject) -> None:
    once, twice = spelled(value, data, False).encode(), spelled(value, data, True).encode()

    assert not repeats(once)
    assert repeats(twice) == (measure(value).members > 0)


@pytest.mark.parametrize(
    "text",
    [b'{"a":1,"a":{"b:":"::\\":"}}', b'{"a" :1,"a":"\\":"}', b'{"a":1,"\\u0061":":"}', b'{"a" :1,"a" :":", "b":2}'],
)
def test_a_repeated_name_is_found_beside_colons_in_strings(text: bytes) -> None:
    assert repeats(text)


@pytest.mark.parametrize(
    ("text", "length"),
    [(b"1" * 100, None), (b"1" * 101, 101), (b'["' + b"1" * 200 + b'"]', None), (b"[-" + b"1" * 100 + b"]", 101)],
)
def test_long_numbers_are_found_outside_strings(text: bytes, length: int | None) -> None:
    assert long_number(text, 100) == length


@given(TRICKY_JSON | st.recursive(st.integers(), st.lists))
def test_long_numbers_are_found_wherever_they_stand(value: JsonValue) -> None:
    found = long_number(encode(value), 2)

    numbers = [number for number in numbers_of(value) if len(str(number)) > 2]
    assert found == (len(str(numbers[0])) if numbers else None)


def numbers_of(value: JsonValue) -> list[JsonValue]:
    """Return the numbers of a value in the order of its text."""
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return [number for item in items for number in numbers_of(item)]
    return [] if isinstance(value, str) else [value]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "Null"),
        (True, "Boolean"),
        (1, "Number"),
        (Decimal(1), "Number"),
        ("", "String"),
        ([], "Array"),
        ({}, "Object"),
    ],
)
def test_types_are_named(value: JsonValue, name: str) -> None:
    assert json_type(value) == name


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (b' {"a": "}"} }', b'{"a": "}"}'),
        (b'"\xc3\xa9" x', b'"\xc3\xa9"'),
        (b"{} {}", b"{}"),
        (b"{", b"{"),
        (b"\xff", b"\xff"),
        (b"[" * 100_000, b"[" * 100_000),
    ],
)
def test_the_first_of_several_texts(text: bytes, first: bytes) -> None:
    assert first_text(text) == first
