"""Sorts: the Data API's order over all types, ties by `_id`."""

from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.documents.codec import JsonObject
from services.documents.indexing import Indexing
from services.runtime.errors import DataApiError
from services.store.filters import EVERYTHING, In
from services.store.ordering import SortField
from tests.unit.store.naive import GONE, kind_and_worth, look_up
from tests.unit.store.strategies import NAMES, SCALARS
from tests.unit.store.test_filters import tables_with

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
