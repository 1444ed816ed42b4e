"""Filters: the SQL finds exactly the documents that the contract's words describe, and by index."""

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.documents.codec import JsonObject, JsonValue, encode
from services.documents.indexing import EVERYTHING as INDEX_EVERYTHING
from services.documents.indexing import Indexing
from services.documents.values import scalar_of
from services.runtime.errors import DataApiError
from services.store.documents import DocumentTables, create_tables
from services.store.filters import (
    EVERYTHING,
    AllOf,
    AnyOf,
    Composite,
    ContainsAll,
    Exists,
    Filter,
    In,
    MatchesText,
    Not,
    Operand,
    Range,
    Size,
)
from services.store.postings import indexed_record
from services.store.records import Record
from tests.unit.store.naive import matches
from tests.unit.store.strategies import PATHS, SCALARS, VALUES, documents


def tables_with(contents: list[JsonObject], indexing: Indexing = INDEX_EVERYTHING) -> DocumentTables:
    connection = apsw.Connection(":memory:")
    create_tables(connection)
    tables = DocumentTables(connection, indexing)
    for content in contents:
        assert tables.insert(indexed_record(Record(encode(content)), indexing)) is not None
    return tables


def found_ids(tables: DocumentTables, filter_: Filter) -> list[int]:
    """Ids of the documents found, which are numbers that count from 0 as positions do from 1."""
    return [row.position - 1 for row in tables.matching(filter_, limit=-1)]


def operand(value: JsonValue) -> Operand:
    try:
        return scalar_of(value)
    except ValueError:
        return Composite(value)


OPERANDS = VALUES.map(operand)
OPERAND_LISTS = st.lists(OPERANDS, min_size=1, max_size=3).map(tuple)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    lower = draw(SCALARS.map(scalar_of))
    upper = draw(SCALARS.map(scalar_of))
    shape = draw(st.sampled_from(["lower", "upper", "both"]))
    inclusive = st.booleans()
    return Range(
        draw(PATHS),
        (lower, draw(inclusive)) if shape != "upper" else None,
        (upper, draw(inclusive)) if shape != "lower" else None,
    )


CONDITIONS: st.SearchStrategy[Filter] = st.one_of(
    st.builds(In, PATHS, st.lists(OPERANDS, max_size=3).map(tuple), st.just(True)),
    st.builds(In, PATHS, OPERANDS.map(lambda value: (value,)), st.just(False)),
    ranges(),
    st.builds(Exists, PATHS),
    st.builds(ContainsAll, PATHS, OPERAND_LISTS),
    st.builds(Size, PATHS, st.integers(0, 3)),
    st.builds(In, st.just(("_id",)), st.lists(st.integers(0, 5), max_size=3).map(tuple)),
    st.builds(Range, st.just(("_id",)), st.tuples(st.integers(0, 5), st.booleans())),
    st.builds(Exists, st.just(("_id",))),
)
FILTERS: st.SearchStrategy[Filter] = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.builds(AllOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(contents=documents(), filter_=FILTERS)
def test_finds_what_the_contract_says(contents: list[JsonObject], filter_: Filter) -> None:
    tables = tables_with(contents)
    expected = [number for number, content in enumerate(contents) if matches(content, filter_)]

    assert found_ids(tables, filter_) == expected
    assert (tables.positions_matching(filter_) - 1).tolist() == expected
    assert tables.count(filter_, -1) == len(expected)


@settings(max_examples=100, deadline=None)
@given(contents=documents(), filter_=FILTERS, after=st.integers(0, 6), limit=st.integers(1, 3))
def test_goes_on_after_a_position(contents: list[JsonObject], filter_: Filter, after: int, limit: int) -> None:
    tables = tables_with(contents)
    expected = [number for number, content in enumerate(contents) if matches(content, filter_) and number >= after]

    rows = tables.matching(filter_, after=after, limit=limit)

    assert [row.position - 1 for row in rows] == expected[:limit]


PARTIAL = [
    Indexing(allow=frozenset({("a",), ("b", "c")})),
    Indexing(deny=frozenset({("a",), ("b", "c")})),
    Indexing(deny_all=True),
]


def indexed_only(value: JsonValue, indexing: Indexing, path: tuple[str, ...] = ()) -> JsonValue:
    """Return a value with what is not indexed taken away, but for what leads to what is."""
    if isinstance(value, dict) and not any(name.startswith("$") for name in value):
        return {
            name: indexed_only(item, indexing, (*path, name))
            for name, item in value.items()
            if indexing.may_reach((*path, name))
        }
    if isinstance(value, list):
        return [indexed_only(item, indexing, (*path, str(at))) for at, item in enumerate(value)]
    return value


@settings(max_examples=200, deadline=None)
@given(contents=documents(), filter_=CONDITIONS, indexing=st.sampled_from(PARTIAL))
def test_compares_the_indexed_part_and_refuses_the_rest(
    contents: list[JsonObject], filter_: Filter, indexing: Indexing
) -> None:
    tables = tables_with(contents, indexing)
    assert not isinstance(filter_, AllOf | AnyOf | Not)
    if filter_.path != ("_id",) and not indexing.includes(filter_.path):
        with pytest.raises(DataApiError, match="does not index"):
            found_ids(tables, filter_)
        return
    kept = [{**indexed_only(content, indexing), "_id": content["_id"]} for content in contents]  # type: ignore[dict-item]

    assert found_ids(tables, filter_) == [number for number, content in enumerate(kept) if matches(content, filter_)]


EQUAL_TO_1 = In(("n",), (1,))
POSITIVE = Range(("m",), (0, False))


@pytest.mark.parametrize(
    "filter_",
    [
        EQUAL_TO_1,
        In(("n",), (1, "x", None)),
        POSITIVE,
        Exists(("n",)),
        Size(("n",), 2),
        ContainsAll(("n",), (1, 2)),
        AllOf((EQUAL_TO_1, POSITIVE)),
        AllOf((EQUAL_TO_1, Not(POSITIVE), Not(Exists(("m",))))),
        AnyOf((EQUAL_TO_1, POSITIVE)),
        AnyOf((AllOf((EQUAL_TO_1, POSITIVE)), Size(("m",), 0))),
        In(("_id",), (1, 2)),
        Range(("_id",), (1, True)),
        AllOf((In(("_id",), (1,)), POSITIVE)),
    ],
    ids=str,
)
def test_searches_by_index(filter_: Filter) -> None:
    contents: list[JsonObject] = [{"_id": number, "n": number % 5, "m": number} for number in range(50)]

    plan = tables_with(contents).explain(filter_)

    documents_by_number = ("rowid=?", "id_key=?", "id_key>?")
    for line in plan:
        assert not line.startswith("SCAN"), plan
        if line.startswith("SEARCH d "):
            assert any(term in line for term in documents_by_number), plan
        if line.startswith("SEARCH postings"):
            assert "path=?" in line and ("key=?" in line or "key>?" in line), plan


def test_tests_a_range_on_each_document_by_itself() -> None:
    contents: list[JsonObject] = [{"_id": number, "n": number % 5, "m": number} for number in range(50)]

    plan = tables_with(contents).explain(AllOf((EQUAL_TO_1, POSITIVE)))

    assert any("postings_by_document (document=? AND path=? AND key>? AND key<?)" in line for line in plan), plan


def test_the_most_selective_condition_drives() -> None:
    contents: list[JsonObject] = [{"_id": number, "common": 1, "rare": number} for number in range(50)]
    tables = tables_with(contents)
    common, rare = In(("common",), (1,), False), In(("rare",), (7,), False)

    for filter_ in (AllOf((common, rare)), AllOf((rare, common))):
        driver = tables._filters.where(filter_).text.partition(" AND EXISTS")[0]
        bindings = tables._filters.where(filter_).bindings
        assert driver.startswith("d.position IN")
        assert bindings[0] == tables._known_path(("rare",))


def test_filters_nested_deep_are_compiled_once_each() -> None:
    filter_: Filter = EQUAL_TO_1
    for _ in range(20):
        filter_ = AnyOf((AllOf((filter_, EQUAL_TO_1)), POSITIVE))
    tables = tables_with([{"_id": 0, "n": 1, "m": 0}])
    estimates = 0

    def estimate(_: object) -> int:
        nonlocal estimates
        estimates += 1
        return 1000

    tables._filters._estimate = estimate

    assert found_ids(tables, filter_) == [0]
    assert estimates == 40


def test_special_fields_exist_when_they_are_there_even_as_null() -> None:
    tables = tables_with([])
    record = Record(b'{"_id":0}', vectorize=b"null")
    tables.insert(indexed_record(record, INDEX_EVERYTHING))

    assert found_ids(tables, Exists(("$vectorize",))) == [0]
    assert found_ids(tables, Exists(("$vector",))) == []
    assert found_ids(tables, Not(Exists(("$lexical",)))) == [0]


def test_words_are_not_searched_yet() -> None:
    with pytest.raises(DataApiError, match="not built in yet"):
        found_ids(tables_with([]), MatchesText(("$lexical",), "moon"))


def test_everything_matches_the_empty_filter() -> None:
    assert found_ids(tables_with([{"_id": 0}, {"_id": 1}]), EVERYTHING) == [0, 1]
