"""Dotted paths: escapes, indexes, and what they lead to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.documents.codec import JsonValue
from services.documents.indexing import EVERYTHING, Indexing
from services.documents.paths import MISSING, Missing, Path, array_index, format_path, parse_path, value_at


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b.0", ("a", "b", "0")),
        ("price&.usd", ("price.usd",)),
        ("a&&b.c", ("a&b", "c")),
        ("a&&.b", ("a&", "b")),
    ],
)
def test_paths_are_read(text: str, path: Path) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a&", "a&b", "&", "&.."])
def test_paths_that_are_wrong_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="path"):
        parse_path(text)


@given(st.lists(st.text(min_size=1), min_size=1).map(tuple))
def test_paths_come_back(path: Path) -> None:
    assert parse_path(format_path(path)) == path


@pytest.mark.parametrize(
    ("segment", "index"),
    [("0", 0), ("12", 12), ("01", None), ("-1", None), ("", None), ("a", None), ("٣", None), ("9" * 5000, None)],
)
def test_indexes_are_digits(segment: str, index: int | None) -> None:
    assert array_index(segment) == index


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("a", "b"), 1),
        (("l", "1", "x"), None),
        (("l", "0"), 5),
        (("o", "0"), "zero"),
        (("l", "2"), MISSING),
        (("l", "x"), MISSING),
        (("a", "b", "c"), MISSING),
        (("none",), MISSING),
    ],
)
def test_values_are_found(path: Path, value: JsonValue | Missing) -> None:
    assert value_at({"a": {"b": 1}, "l": [5, {"x": None}], "o": {"0": "zero"}}, path) == value


@pytest.mark.parametrize(
    ("indexing", "path", "included", "reached"),
    [
        (EVERYTHING, ("a", "b"), True, True),
        (Indexing(deny_all=True), ("a",), False, False),
        (Indexing(allow=frozenset({("a", "b")})), ("a",), False, True),
        (Indexing(allow=frozenset({("a", "b")})), ("a", "b", "c"), True, True),
        (Indexing(allow=frozenset({("a", "b")})), ("a", "c"), False, False),
        (Indexing(deny=frozenset({("a", "b")})), ("a",), True, True),
        (Indexing(deny=frozenset({("a", "b")})), ("a", "b", "0"), False, False),
        (Indexing(deny=frozenset({("a", "b")})), ("a", "0", "b"), False, False),
        (Indexing(deny=frozenset({("a", "0")})), ("a", "1", "b"), True, True),
        (Indexing(deny=frozenset({("a", "0")})), ("a", "0", "b"), False, False),
        (Indexing(allow=frozenset({("a", "b")})), ("a", "3", "b", "0"), True, True),
        (Indexing(allow=frozenset({("a", "b")})), ("a", "3"), False, True),
    ],
)
def test_indexed_paths(indexing: Indexing, path: Path, included: bool, reached: bool) -> None:
    assert indexing.includes(path) is included
    assert indexing.may_reach(path) is reached
