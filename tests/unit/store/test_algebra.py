"""Filters answered by bitmaps: the same documents, whatever is in memory and whatever is written in between."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.documents.codec import JsonObject
from services.documents.indexing import Indexing
from services.runtime.errors import DataApiError
from services.store.documents import DocumentTables
from services.store.filter_index import DEFAULT_BUDGET, FilterIndex
from services.store.filters import EVERYTHING, AllOf, AnyOf, Exists, Filter, In, MatchesText, Not, Range
from tests.unit.store.committed import Committed, bitmaps_always
from tests.unit.store.naive import matches
from tests.unit.store.strategies import BODIES, documents
from tests.unit.store.test_filters import FILTERS, tables_with

WRITES = st.one_of(
    st.tuples(st.just("insert"), st.just(0), BODIES),
    st.tuples(st.just("replace"), st.integers(1, 8), BODIES),
    st.tuples(st.just("delete"), st.integers(1, 8), st.just({})),
    st.tuples(st.just("truncate"), st.just(0), st.just({})),
)


def carry_out(written: Committed, expected: dict[int, JsonObject], write: tuple[str, int, JsonObject]) -> None:
    """Carry out a write, and note in `expected`, documents by position, what there should be then."""
    kind, position, body = write
    if kind == "insert":
        content: JsonObject = {"_id": 100 + written.writer.last_write(), **body}
        written.insert(content)
        expected[_last_position(written)] = content
    elif kind == "truncate":
        written.write(written.writer.truncate)
        expected.clear()
    elif position in expected:
        if kind == "delete":
            written.delete(position)
            del expected[position]
        else:
            expected[position] = {"_id": expected[position]["_id"], **body}
            written.replace(position, expected[position])


def _last_position(written: Committed) -> int:
    return next(int(value) for (value,) in written.connection.execute("SELECT max(position) FROM documents"))


@pytest.mark.parametrize("budget", [DEFAULT_BUDGET, 3000], ids=["roomy", "tiny"])
@settings(max_examples=150, deadline=None)
@given(
    contents=documents(),
    filters=st.lists(FILTERS, min_size=1, max_size=3),
    writes=st.lists(st.one_of(st.none(), WRITES), max_size=6),
)
def test_finds_what_the_contract_says_while_documents_change(
    budget: int, contents: list[JsonObject], filters: list[Filter], writes: list[Any]
) -> None:
    written = Committed(contents, budget)
    expected = dict(enumerate(contents, start=1))
    with bitmaps_always():
        for write in [None, *writes]:
            if write is not None:
                carry_out(written, expected, write)
            for filter_ in filters:
                found = [position for position in sorted(expected) if matches(expected[position], filter_)]
                assert written.reader.positions_matching(filter_).tolist() == found
                assert written.reader.count(filter_, -1) == len(found)
                assert [row.position for row in written.reader.matching(filter_, after=1, limit=2)] == [
                    position for position in found if position > 1
                ][:2]
            assert written.index.size <= budget


# --- what is in memory ---

COMMON = In(("common",), (1,))
BROAD = Range(("n",), (10, True))
RARE = In(("n",), (7,))


def many() -> Committed:
    return Committed([{"_id": number, "n": number, "common": 1} for number in range(2000)])


def test_a_condition_of_many_documents_is_read_once() -> None:
    written = many()
    written.reader.positions_matching(COMMON)
    written.connection.execute("DELETE FROM postings")

    assert len(written.reader.positions_matching(COMMON)) == written.reader.count(COMMON, -1) == 2000


def test_a_condition_of_few_documents_is_not_kept() -> None:
    written = many()

    assert written.reader.positions_matching(RARE).tolist() == [8]
    assert len(written.index) == 0


def test_beside_a_condition_of_few_documents_others_are_not_loaded() -> None:
    written = many()

    assert written.reader.positions_matching(AllOf((COMMON, RARE, Not(BROAD)))).tolist() == [8]
    assert len(written.index) == 0


def test_to_fill_a_page_a_negation_of_few_documents_loads_nothing() -> None:
    written = many()

    assert [row.position for row in written.reader.matching(Not(RARE), after=6, limit=2)] == [7, 9]
    assert len(written.index) == 0


def test_to_fill_a_page_a_negation_of_many_documents_is_loaded() -> None:
    written = many()

    assert list(written.reader.matching(Not(COMMON), limit=2)) == []
    assert len(written.index) > 0


def test_positions_are_distinct_ascending_int64() -> None:
    written = many()

    positions = written.reader.positions_matching(AnyOf((BROAD, COMMON)))

    assert positions.dtype == "int64"
    assert positions.tolist() == list(range(1, 2001))


def test_the_writer_reads_what_it_has_written_itself() -> None:
    written = many()
    written.reader.count(COMMON, -1)

    with written.connection:
        written.writer.begin_write()
        written.writer.delete(1)
        assert written.writer.count(COMMON, -1) == 1999


# --- the rest ---


def test_explains_which_conditions_are_in_memory() -> None:
    written = many()
    written.reader.positions_matching(COMMON)

    plan = written.reader.explain(AllOf((COMMON, Not(BROAD))))

    assert plan == [
        "BITMAP In common IN MEMORY",
        "BITMAP Range n TO BE LOADED",
        "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)",
    ]


def test_explains_with_the_plan_of_sql_where_that_is_used() -> None:
    written = many()

    for filter_ in (AllOf((COMMON, RARE)), In(("_id",), (1,)), EVERYTHING, Not(RARE)):
        assert written.reader.explain(filter_) == written.writer.explain(filter_)


def test_special_fields_are_left_to_sql() -> None:
    written = many()

    assert written.reader.count(AllOf((COMMON, Exists(("$vector",)))), -1) == 0
    with pytest.raises(DataApiError, match="not built in yet"):
        written.reader.count(AnyOf((COMMON, MatchesText(("$lexical",), "moon"))), -1)


def test_a_path_without_an_index_is_refused() -> None:
    indexing = Indexing(deny=frozenset({("secret",)}))
    tables = DocumentTables(tables_with([{"_id": 0}], indexing).connection, indexing, FilterIndex())

    for filter_ in (In(("secret",), (1,)), AllOf((COMMON, Not(Exists(("secret", "x")))))):
        with pytest.raises(DataApiError, match="does not index"):
            tables.positions_matching(filter_)
