"""Reading members: known names, types, and values as messages show them."""

from decimal import Decimal
from typing import Any

import pytest

from services.documents.codec import JsonValue
from services.gateway.fields import Fields, shown
from services.runtime.errors import DataApiError


def fields(**members: JsonValue) -> Fields:
    return Fields(members, ("a", "options"), place="find")


def code(read: Any) -> str:
    with pytest.raises(DataApiError) as caught:
        read()
    return caught.value.code


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        ("5", 5),
        (" +5 ", 5),
        (Decimal("5.7"), 5),
        (Decimal("-0.5"), 0),
        (Decimal("1E-999999999"), 0),
        (None, None),
        ("", None),
        ("null", None),
        ("-3", -3),
        ((1 << 31) - 1, (1 << 31) - 1),
        (-(1 << 31), -(1 << 31)),
    ],
)
def test_integers_are_read_from_what_stands_for_one(value: JsonValue, expected: int | None) -> None:
    assert fields(a=value).integer("a") == expected


@pytest.mark.parametrize(
    "value", [True, "x", "5.5", "1_0", "٣", {}, [], Decimal("1E+999999999"), 1 << 31, str(1 << 31)]
)
def test_what_is_no_integer_is_a_mismatch(value: JsonValue) -> None:
    assert code(lambda: fields(a=value).integer("a")) == "REQUEST_STRUCTURE_MISMATCH"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        ("true", True),
        (" TRUE ", True),
        ("True", True),
        (7, True),
        ("false", False),
        ("FALSE", False),
        (0, False),
        ("", False),
        ("null", False),
        (None, False),
    ],
)
def test_booleans(value: JsonValue, expected: bool) -> None:
    assert fields(a=value).boolean("a") is expected


@pytest.mark.parametrize("value", [Decimal("1.5"), "yes", "tRue", "1", [], {}])
def test_what_is_no_boolean_is_a_mismatch(value: JsonValue) -> None:
    assert code(lambda: fields(a=value).boolean("a")) == "REQUEST_STRUCTURE_MISMATCH"


def test_an_unknown_member_is_named_with_the_known_ones() -> None:
    with pytest.raises(DataApiError, match=r"'x' that is not known in find\. Known fields there: 'a', 'options'"):
        fields(x=1)


def test_violations_are_raised_together_with_their_paths() -> None:
    command = fields(options={"limit": 0, "skip": -1})
    options = command.nested("options", ("limit", "skip"))
    options.refuse("limit", 0, "too small")
    options.refuse("skip", -1, "negative")

    with pytest.raises(ExceptionGroup) as caught:
        command.finish()

    assert ["command.options.limit" in str(caught.value.exceptions[0])] == [True]
    assert ["command.options.skip" in str(caught.value.exceptions[1])] == [True]


@pytest.mark.parametrize("options", [None, {}])
def test_empty_options_are_no_options(options: JsonValue) -> None:
    fields(options=options).no_options()


def test_options_where_there_are_none_are_refused() -> None:
    assert code(lambda: fields(options={"a": 1}).no_options()) == "COMMAND_ACCEPTS_NO_OPTIONS"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "`null`"),
        (5, "5"),
        (True, "true"),
        ("x", '"x"'),
        ([1, 2], "<JSON value of 5 characters>"),
        ("x" * 1001, '"' + "x" * 1000 + '"...[TRUNCATED from 1001 to 1000 characters]'),
    ],
)
def test_values_in_messages(value: JsonValue, text: str) -> None:
    assert shown(value) == text
