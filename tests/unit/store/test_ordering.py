"""Sorts: the Data API's order over all types, ties by `_id`."""

from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.documents.codec import JsonObject
from services.documents.indexing import Indexing
from services.runtime.errors import DataApiError
from services.store import sort_walk
from services.store.filters import EVERYTHING, Filter, In, Range
from services.store.ordering import SortField
from tests.unit.store.committed import Committed, bitmaps_always
from tests.unit.store.naive import GONE, kind_and_worth, look_up, matches
from tests.unit.store.strategies import NAMES, SCALARS
from tests.unit.store.test_filters import FILTERS, tables_with

RANKS = ("missing", "null", "number", "string", "boolean", "date")


def compare(left: Any, right: Any) -> int:
    """Compare two values, `GONE` for missing ones, as the contract orders them."""
    (left_kind, left_worth), (right_kind, right_worth) = (
        ("missing", 0) if value is GONE else kind_and_worth(value) for value in (left, right)
    )
    if left_kind != right_kind:
        return RANKS.index(left_kind) - RANKS.index(right_kind)
    return int(left_worth > right_worth) - int(left_worth < right_worth)


def naive_order(contents: list[JsonObject], fields: list[SortField]) -> list[int]:
    def compare_documents(first: int, second: int) -> int:
        left, right = contents[first], contents[second]
        for field in fields:
            order = compare(look_up(left, field.path), look_up(right, field.path))
            if order:
                return -order if field.descending else order
        return compare(left["_id"], right["_id"])

    return sorted(range(len(contents)), key=cmp_to_key(compare_documents))


FLAT = st.lists(st.dictionaries(st.sampled_from(NAMES), SCALARS, max_size=3), max_size=8)
FIELDS = st.lists(
    st.builds(SortField, st.sampled_from([*((name,) for name in NAMES), ("_id",), ("a", "b")]), st.booleans()),
    min_size=1,
    max_size=3,
)
IDS = st.lists(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["a", "B", "\U0001f600", "\uffff"])),
    min_size=8,
    max_size=8,
    unique_by=lambda value: (type(value), value),
)


@settings(max_examples=200, deadline=None)
@given(bodies=FLAT, ids=IDS, fields=FIELDS, skip=st.integers(0, 3), limit=st.integers(1, 8))
def test_orders_as_the_contract_says(
    bodies: list[JsonObject], ids: list[Any], fields: list[SortField], skip: int, limit: int
) -> None:
    contents: list[JsonObject] = [{"_id": identifier, **body} for identifier, body in zip(ids, bodies, strict=False)]

    rows = tables_with(contents).ordered(EVERYTHING, fields, skip=skip, limit=limit)

    assert [row.position - 1 for row in rows] == naive_order(contents, fields)[skip : skip + limit]


def test_arrays_and_objects_sort_between_strings_and_booleans() -> None:
    values: list[Any] = [True, [1], "z", {"x": 1}, {"$date": 0}, 5]
    contents: list[JsonObject] = [{"_id": number, "v": value} for number, value in enumerate(values)]

    rows = tables_with(contents).ordered(EVERYTHING, [SortField(("v",))], skip=0, limit=9)
    order = [row.position - 1 for row in rows]

    assert order[:2] == [5, 2]
    assert set(order[2:4]) == {1, 3}
    assert order[4:] == [0, 4]


def test_only_documents_that_match_are_ordered() -> None:
    contents: list[JsonObject] = [{"_id": number, "n": number % 2} for number in range(6)]

    rows = tables_with(contents).ordered(In(("n",), (1,)), [SortField(("_id",), descending=True)], skip=0, limit=9)

    assert [row.position - 1 for row in rows] == [5, 3, 1]


def test_a_path_without_an_index_is_refused() -> None:
    tables = tables_with([{"_id": 0}], Indexing(deny=frozenset({("secret",)})))

    with pytest.raises(DataApiError, match="does not index") as refused:
        tables.ordered(EVERYTHING, [SortField(("secret", "x"))], skip=0, limit=1)
    assert refused.value.code == "SORT_CLAUSE_PATH_UNINDEXED"


# --- by walking an index ---


@pytest.mark.parametrize("same_key", [1, 32])
@settings(max_examples=150, deadline=None)
@given(
    bodies=FLAT,
    ids=IDS,
    fields=FIELDS,
    filter_=st.one_of(st.just(EVERYTHING), FILTERS),
    skip=st.integers(0, 3),
    limit=st.integers(1, 8),
)
def test_walks_as_the_contract_says(
    same_key: int,
    bodies: list[JsonObject],
    ids: list[Any],
    fields: list[SortField],
    filter_: Filter,
    skip: int,
    limit: int,
) -> None:
    contents: list[JsonObject] = [{"_id": identifier, **body} for identifier, body in zip(ids, bodies, strict=False)]
    written = Committed(contents)
    with bitmaps_always(same_key):
        rows = written.reader.ordered(filter_, fields, skip=skip, limit=limit)

    order = [at for at in naive_order(contents, fields) if matches(contents[at], filter_)]
    assert [row.position - 1 for row in rows] == order[skip : skip + limit]


def walked(fields: list[SortField], wanted: int, filter_: Filter = EVERYTHING) -> list[int]:
    """The numbers of the documents, of 1000, that are left to compare after a walk."""
    contents: list[JsonObject] = [
        {"_id": number, "unique": number, "half": number % 2, **({"some": number} if number >= 990 else {})}
        for number in range(1000)
    ]
    reader = Committed(contents).reader
    members = reader._members(filter_, whole=True)
    assert members is not None
    narrowed = reader._walk.narrowed(members, fields, wanted, reader._within(filter_, fields))
    return [position - 1 for position in narrowed]


UNIQUE, HALF, SOME = SortField(("unique",)), SortField(("half",)), SortField(("some",))


@pytest.mark.parametrize(
    ("fields", "wanted", "filter_", "expected"),
    [
        ([UNIQUE], 3, EVERYTHING, [0, 1, 2]),
        ([SortField(("unique",), descending=True)], 2, EVERYTHING, [998, 999]),
        ([SortField(("_id",))], 2, EVERYTHING, [0, 1]),
        ([SortField(("_id",), descending=True)], 2, EVERYTHING, [998, 999]),
        ([HALF], 2, EVERYTHING, [0, 2]),
        ([HALF, SortField(("unique",), descending=True)], 2, EVERYTHING, [996, 998]),
        ([SOME], 2, EVERYTHING, [0, 1]),
        ([SortField(("some",), descending=True)], 2, EVERYTHING, [*range(990, 1000)]),
        ([SortField(("some",), descending=True)], 12, EVERYTHING, [0, 1, *range(990, 1000)]),
        ([SortField(("absent",))], 2, EVERYTHING, [0, 1]),
        ([UNIQUE], 2, Range(("unique",), (500, True)), [500, 501]),
    ],
    ids=str,
)
def test_a_walk_stops_at_what_is_wanted(
    fields: list[SortField], wanted: int, filter_: Filter, expected: list[int]
) -> None:
    assert walked(fields, wanted, filter_) == expected


def test_a_walk_that_leads_nowhere_is_given_up() -> None:
    assert walked([UNIQUE], 10, In(("some",), tuple(range(990, 1000)))) == list(range(990, 1000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sort_walk, "_FEW", 0)
        patch.setattr(sort_walk, "_STEPS", 1)
        assert walked([UNIQUE], 1, In(("half",), (1,))) == [1]
        assert walked([UNIQUE], 1, Range(("some",), (990, True))) == list(range(990, 1000))
