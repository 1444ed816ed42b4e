"""Projections: what is returned of a document."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.documents.codec import JsonObject, decode, encode
from services.store.projection import WHOLE, Projection, Slice
from services.store.records import Found, Record, StoredVector
from tests.unit.store.strategies import BODIES, NAMES

Names = tuple[str, ...]


def project(projection: Projection, content: JsonObject) -> Any:
    return decode(projection.apply(Found(Record(encode(content)))).record.json)


def _overlap(paths: list[Names]) -> bool:
    return any(one != other and other[: len(one)] == one for one in paths for other in paths)


PATHS = (
    st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple), max_size=4, unique=True)
    .map(lambda paths: [path for path in paths if path])
    .filter(lambda paths: not _overlap(paths))
)
SLICES = st.builds(Slice, st.integers(-3, 3), st.integers(0, 3))


def naive(value: Any, place: Names, include: bool, paths: set[Names], slices: dict[Names, Slice]) -> Any:
    """Return what a projection keeps of a value at a place of the document, array levels not counted."""
    if place in slices:
        part = slices[place]
        if not isinstance(value, list):
            return value
        start = part.start if part.start >= 0 else max(len(value) + part.start, 0)
        return value[start : start + part.count]
    if place in paths:
        return value
    if not any(path[: len(place)] == place for path in (*paths, *slices)):
        return value
    if isinstance(value, list):
        return [naive(item, place, include, paths, slices) for item in value]
    if not isinstance(value, dict) or any(name.startswith("$") for name in value):
        return value
    kept = {}
    for name, item in value.items():
        below = (*place, name)
        leads_on = any(path[: len(below)] == below for path in (*paths, *slices))
        if below in paths and not include:
            continue
        if leads_on or not include:
            kept[name] = naive(item, below, include, paths, slices)
    return kept


@settings(max_examples=300, deadline=None)
@given(
    body=BODIES,
    paths=PATHS,
    parts=st.lists(SLICES, max_size=2),
    include=st.booleans(),
    exclude_id=st.booleans(),
)
def test_keeps_what_the_contract_says(
    body: JsonObject, paths: list[Names], parts: list[Slice], include: bool, exclude_id: bool
) -> None:
    slices = dict(zip(paths, parts, strict=False))
    plain = tuple(path for path in paths if path not in slices)
    expected = naive(body, (), include, set(plain), slices) if paths or not include else {}
    if not exclude_id:
        expected = {"_id": 1, **expected}
    projection = Projection(include=include, paths=plain, slices=slices, exclude_id=exclude_id)

    projected = project(projection, {"_id": 1, **body})

    assert projected == expected
    assert encode(projected) == encode(expected)


def test_the_default_projection_returns_the_stored_bytes() -> None:
    json = b'{ "_id": 1,  "price": 1.50 }'

    assert WHOLE.apply(Found(Record(json))).record.json == json


@pytest.mark.parametrize(
    ("paths", "content", "expected"),
    [
        ([("a", "b")], {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1}}),
        (
            [("items", "price")],
            {"items": [{"price": 1, "name": "x"}, 7, {"name": "y"}]},
            {"items": [{"price": 1}, 7, {}]},
        ),
        ([("a", "b")], {"a": 5}, {"a": 5}),
        ([("a", "b")], {"a": {"c": 1}}, {"a": {}}),
        ([("when", "$date")], {"when": {"$date": 5}}, {"when": {"$date": 5}}),
        ([("tags", "0")], {"tags": ["x", "y"]}, {"tags": ["x", "y"]}),
        ([("b",), ("a",)], {"a": 1, "b": 2}, {"a": 1, "b": 2}),
    ],
)
def test_inclusion(paths: list[Names], content: JsonObject, expected: JsonObject) -> None:
    projection = Projection(include=True, paths=tuple(paths), exclude_id=True)

    projected = project(projection, {"_id": 1, **content})

    assert encode(projected) == encode(expected)


@pytest.mark.parametrize(
    ("paths", "content", "expected"),
    [
        ([("a", "b")], {"a": {"b": 1}, "d": 3}, {"a": {}, "d": 3}),
        ([("items", "price")], {"items": [{"price": 1, "n": 2}, 7]}, {"items": [{"n": 2}, 7]}),
        ([("when", "$date")], {"when": {"$date": 5}}, {"when": {"$date": 5}}),
    ],
)
def test_exclusion(paths: list[Names], content: JsonObject, expected: JsonObject) -> None:
    assert project(Projection(paths=tuple(paths), exclude_id=True), {"_id": 1, **content}) == expected


@pytest.mark.parametrize(
    ("start", "count", "expected"),
    [(0, 2, [1, 2]), (-2, 2, [3, 4]), (1, 2, [2, 3]), (-9, 2, [1, 2]), (9, 2, []), (0, 0, [])],
)
def test_slices(start: int, count: int, expected: list[int]) -> None:
    projection = Projection(slices={("n",): Slice(start, count)})

    assert project(projection, {"_id": 1, "n": [1, 2, 3, 4], "m": 0}) == {"_id": 1, "n": expected, "m": 0}


def test_special_fields_come_only_when_asked_for() -> None:
    record = Record(b'{"_id":1}', StoredVector(b"\0" * 8, b"[0,0]"), b'"text"', b'"words"')
    everything = Projection(include_vector=True, include_vectorize=True, include_lexical=True)

    assert WHOLE.apply(Found(record, 0.5)) == Found(Record(b'{"_id":1}'), 0.5)
    assert everything.apply(Found(record)).record == record
