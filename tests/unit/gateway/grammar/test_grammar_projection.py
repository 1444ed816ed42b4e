"""Projections: what each clause becomes, and which clauses are refused with which code."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orrery.store.v1 import store_pb2 as pb

from services.documents.codec import JsonValue
from services.documents.paths import Path, format_path, parse_path
from services.gateway.grammar.projection import parse_projection
from services.runtime.errors import DataApiError

INCLUDE, EXCLUDE = pb.PROJECTION_KIND_INCLUDE, pb.PROJECTION_KIND_EXCLUDE


def projection(
    kind: pb.ProjectionKind.ValueType, *paths: str, slices: tuple[pb.Slice, ...] = (), **flags: bool
) -> pb.Projection:
    message = pb.Projection(kind=kind, slices=slices, **flags)  # type: ignore[arg-type]
    message.paths.extend(pb.Path(segments=parse_path(path)) for path in paths)
    return message


def part(path: str, start: int, count: int) -> pb.Slice:
    return pb.Slice(path=pb.Path(segments=parse_path(path)), start=start, count=count)


def refusal(clause: JsonValue) -> str:
    with pytest.raises(DataApiError) as caught:
        parse_projection(clause, present=True)
    return caught.value.code


EVERYTHING = projection(EXCLUDE, include_vector=True, include_vectorize=True, include_lexical=True)


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ({}, projection(EXCLUDE)),
        ({"name": 1, "address.city": True, "_id": 0}, projection(INCLUDE, "name", "address.city", exclude_id=True)),
        ({"secret": 0, "address.zip": False}, projection(EXCLUDE, "secret", "address.zip")),
        ({"a": Decimal("0.5")}, projection(INCLUDE, "a")),
        ({"a": Decimal("0.0")}, projection(EXCLUDE, "a")),
        ({"price&.usd": 1, "a&&b": 1}, projection(INCLUDE, "price&.usd", "a&&b")),
        ({"address": {"city": 1}}, projection(INCLUDE, "address.city")),
        ({"a": {"b": {"c": 1}, "d.e": 1}}, projection(INCLUDE, "a.d.e", "a.b.c")),
        ({"a": {"_id": 1}}, projection(INCLUDE, "a._id")),
        ({"*": 1}, EVERYTHING),
        ({"*": True}, EVERYTHING),
        ({"*": 0}, projection(INCLUDE, exclude_id=True)),
        ({"$vector": 1}, projection(EXCLUDE, include_vector=True)),
        ({"$vectorize": 1, "$lexical": 1}, projection(EXCLUDE, include_vectorize=True, include_lexical=True)),
        ({"$vector": 0}, projection(EXCLUDE)),
        ({"_id": 1}, projection(EXCLUDE)),
        ({"_id": 0}, projection(EXCLUDE, exclude_id=True)),
        ({"_id": 1, "value": 0}, projection(EXCLUDE, "value")),
        ({"name": 1, "$vector": 1, "$lexical": 0}, projection(INCLUDE, "name", include_vector=True)),
    ],
)
def test_projections(clause: JsonValue, message: pb.Projection) -> None:
    assert parse_projection(clause, present=True) == message


def test_without_a_projection_everything_but_the_special_fields_is_returned() -> None:
    assert parse_projection(None, present=False) == projection(EXCLUDE)


@pytest.mark.parametrize(
    ("slice_", "start", "count"),
    [
        (2, 0, 2),
        (0, 0, 0),
        (-2, -2, 2),
        ([3, 99], 3, 99),
        ([-3, 2], -3, 2),
        ([0, 0], 0, 0),
    ],
)
def test_slices(slice_: JsonValue, start: int, count: int) -> None:
    message = parse_projection({"tags": {"$slice": slice_}}, present=True)

    assert message == projection(EXCLUDE, slices=(part("tags", start, count),))


def test_slices_go_with_inclusions_and_exclusions() -> None:
    sliced: JsonValue = {"$slice": 2}

    assert parse_projection({"a.tags": sliced, "b": 1}, present=True) == projection(
        INCLUDE, "b", slices=(part("a.tags", 0, 2),)
    )
    assert parse_projection({"a": {"tags": sliced}, "b": 0}, present=True) == projection(
        EXCLUDE, "b", slices=(part("a.tags", 0, 2),)
    )


@pytest.mark.parametrize("clause", [None, [], "name", 1])
def test_what_is_no_object_is_refused(clause: JsonValue) -> None:
    assert refusal(clause) == "UNSUPPORTED_PROJECTION_DEFINITION"


@pytest.mark.parametrize(
    "clause",
    [
        {"a": "1"},
        {"a": None},
        {"a": [1]},
        {"a": {}},
        {"_id": {"$slice": 1}},
        {"a": 1, "b": 0},
        {"*": 1, "a": 1},
        {"*": {"a": 1}},
        {"a": {"*": 1}},
        {"$similarity": 1},
        {"a": {"$vector": 1}},
        {"": 1},
        {"a..b": 1},
        {"a.": 1},
        {"price&": 1},
        {"price&abc": 1},
        {"a": 1, "a.b": 1},
        {"a.b": 1, "a": {"b": 1}},
        {"a": {"$slice": 1}, "a.b": 1},
        {"a": {"$slice": 1, "b": 1}},
        {"a": {"$slice": Decimal("1.5")}},
        {"a": {"$slice": "1"}},
        {"a": {"$slice": [1]}},
        {"a": {"$slice": [1, 2, 3]}},
        {"a": {"$slice": [1, -1]}},
        {"a": {"$slice": [True, 1]}},
        {"a": {"$slice": 1 << 31}},
    ],
)
def test_projections_that_are_refused(clause: JsonValue) -> None:
    assert refusal(clause) == "UNSUPPORTED_PROJECTION_PARAM"


def test_a_projection_may_be_nested_as_deep_as_requests_are() -> None:
    clause: JsonValue = {"a": 1}
    for _ in range(900):
        clause = {"a": clause}

    message = parse_projection(clause, present=True)

    assert [len(path.segments) for path in message.paths] == [901]


segments = st.sampled_from(["a", "b", "a.b", "&"])
paths = st.lists(segments, min_size=1, max_size=3).map(tuple)


@given(st.lists(paths, unique=True, max_size=6))
def test_paths_overlap_when_one_is_the_beginning_of_another(given_paths: list[Path]) -> None:
    overlap = any(one != other and other[: len(one)] == one for one in given_paths for other in given_paths)
    clause: JsonValue = {format_path(path): 1 for path in given_paths}

    if overlap:
        assert refusal(clause) == "UNSUPPORTED_PROJECTION_PARAM"
    else:
        message = parse_projection(clause, present=True)
        assert [tuple(path.segments) for path in message.paths] == given_paths
