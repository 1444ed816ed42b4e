"""A collection: writes and reads over its tables and its vector index."""

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.runtime.errors import DataApiError
from services.store.changes import InsertOutcome, Selection, Update, VectorOrder
from services.store.collection import Collection
from services.store.engine import Engine
from services.store.filters import EVERYTHING, Filter, In, Not
from services.store.ordering import FieldOrder, SortField
from services.store.projection import WHOLE, Projection
from services.store.records import CollectionSettings, Record, StoredVector, VectorSettings
from services.store.updates import Operation
from services.store.vectors.similarity import Metric
from tests.unit.store.conftest import Make

INSERTED, EXISTS, SKIPPED = InsertOutcome.INSERTED, InsertOutcome.ALREADY_EXISTS, InsertOutcome.SKIPPED
VECTORS = CollectionSettings(VectorSettings(2, Metric.COSINE))


def vector(*numbers: float) -> StoredVector:
    return StoredVector(np.array(numbers, "<f4").tobytes())


def record(identifier: Any, *numbers: float, **members: Any) -> Record:
    content = json.dumps({"_id": identifier, **members}).encode()
    return Record(content, vector(*numbers) if numbers else None)


def nearest(*numbers: float) -> VectorOrder:
    return VectorOrder(vector(*numbers).values)


def ids(collection: Collection, selection: Selection | None = None, limit: int = 100, skip: int = 0) -> list[Any]:
    found, _ = collection.find(selection or Selection(), WHOLE, skip=skip, limit=limit, after=0)
    return [json.loads(item.record.json)["_id"] for item in found]


def by_id(identifier: Any) -> Selection:
    return Selection(In(("_id",), (identifier,)))


def set_all(filter_: Filter, **members: Any) -> Update:
    operations = tuple(Operation("$set", (name,), value) for name, value in members.items())
    return Update(Selection(filter_), operations, limit=100)


# --- insertion ----------------------------------------------------------------------------------------------


def test_an_ordered_insert_stops_at_the_first_that_is_there(make: Make) -> None:
    collection = make()

    outcomes = collection.insert([record(1), record(2), record(1), record(3)], ordered=True)

    assert outcomes == [INSERTED, INSERTED, EXISTS, SKIPPED]
    assert ids(collection) == [1, 2]


def test_an_unordered_insert_goes_on(make: Make) -> None:
    collection = make()

    outcomes = collection.insert([record(1, n=1), record(1, n=2), record(3)], ordered=False)

    assert outcomes == [INSERTED, EXISTS, INSERTED]
    assert collection.count(In(("n",), (1,)), 0) == (1, False)
    assert collection.count(In(("n",), (2,)), 0) == (0, False)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1", "1.0"),
        ('"9c5b94b1-35ad-49bb-b118-8e8fc24abf80"', '{"$uuid":"9C5B94B1-35AD-49BB-B118-8E8FC24ABF80"}'),
    ],
)
def test_ids_that_are_equal_are_one(make: Make, first: str, second: str) -> None:
    records = [Record(f'{{"_id":{identifier}}}'.encode()) for identifier in (first, second)]

    assert make().insert(records, ordered=False) == [INSERTED, EXISTS]


def test_ids_of_different_types_are_different(make: Make) -> None:
    records = [Record(b'{"_id":%s}' % text) for text in (b"5", b'"5"', b"true", b"1", b"null", b'{"$date":5}')]

    assert make().insert(records, ordered=True) == [INSERTED] * 6


@pytest.mark.parametrize("text", [b"[]", b"{", b'{"a":1}', b'{"_id":[1]}'])
def test_what_is_no_document_is_refused_and_nothing_inserted(make: Make, text: bytes) -> None:
    collection = make()

    with pytest.raises(DataApiError):
        collection.insert([record(1), Record(text)], ordered=True)
    assert collection.totals() == (0, 0)


def test_documents_come_back_byte_for_byte(make: Make) -> None:
    text = b'{"_id":"x","price":1.500,"big":123456789012345678901234567890,"nested":{"b":1,"a":[ ]}}'
    stored = Record(text, StoredVector(vector(1, 2).values, b"[1,2.0]"), b'"text"', b"null")
    collection = make(VECTORS)
    collection.insert([stored], ordered=True)

    whole = Projection(include_vector=True, include_vectorize=True, include_lexical=True)
    found, _ = collection.find(by_id("x"), whole, skip=0, limit=1, after=0)

    assert found[0].record == stored


def test_a_null_vector_is_kept_apart_from_none(make: Make) -> None:
    collection = make(VECTORS)
    collection.insert([Record(b'{"_id":1}', StoredVector(b"")), Record(b'{"_id":2}')], ordered=True)

    found, _ = collection.find(Selection(), Projection(include_vector=True), skip=0, limit=2, after=0)

    assert [item.record.vector for item in found] == [StoredVector(b""), None]
    assert collection.totals() == (2, 0)


# --- vectors ------------------------------------------------------------------------------------------------


def test_the_nearest_come_first_with_their_similarity(make: Make) -> None:
    collection = make(VECTORS)
    collection.insert([record(1, 0, 1), record(2, 1, 1), record(3, 1, 0), record(4)], ordered=True)

    found, more = collection.find(Selection(order=nearest(1, 0)), WHOLE, skip=0, limit=10, after=0)

    assert [json.loads(item.record.json)["_id"] for item in found] == [3, 2, 1]
    assert [item.similarity for item in found] == pytest.approx([1, (1 + 2**-0.5) / 2, 0.5])
    assert more is None


def test_a_filter_restricts_and_nearness_orders(make: Make) -> None:
    collection = make(VECTORS)
    collection.insert([record(n, 1, n, even=n % 2 == 0) for n in range(10)], ordered=True)

    assert ids(collection, Selection(In(("even",), (True,)), nearest(1, 0)), limit=3) == [0, 2, 4]
    assert ids(collection, Selection(Not(In(("even",), (True,))), nearest(1, 0)), limit=3) == [1, 3, 5]


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (nearest(1, 2, 3), "INVALID_VECTOR_LENGTH"),
        (VectorOrder(b"odd"), "INVALID_VECTOR_LENGTH"),
        (nearest(0, 0), "INVALID_DATABASE_QUERY"),
    ],
)
def test_a_query_that_does_not_fit_is_refused(make: Make, order: VectorOrder, code: str) -> None:
    with pytest.raises(DataApiError) as refused:
        ids(make(VECTORS), Selection(order=order))
    assert refused.value.code == code


def test_a_document_whose_vector_does_not_fit_is_refused_with_all(make: Make) -> None:
    collection = make(VECTORS)

    with pytest.raises(DataApiError, match="3 elements") as refused:
        collection.insert([record(1, 1, 1), record(2, 1, 2, 3)], ordered=False)
    assert refused.value.code == "INVALID_VECTOR_LENGTH"
    assert collection.totals() == (0, 0)


def test_a_collection_without_vectors_keeps_them_but_does_not_search(make: Make) -> None:
    collection = make()
    collection.insert([record(1, 1, 2, 3)], ordered=True)

    assert collection.totals() == (1, 0)
    with pytest.raises(DataApiError) as refused:
        ids(collection, Selection(order=nearest(1, 2, 3)))
    assert refused.value.code == "VECTOR_SEARCH_NOT_SUPPORTED"


def test_the_index_follows_every_write(make: Make) -> None:
    collection = make(VECTORS)
    collection.insert([record(n, 1, n) for n in range(4)], ordered=True)

    collection.delete(by_id(0), 1, None)
    assert ids(collection, Selection(order=nearest(1, 0))) == [1, 2, 3]
    collection.truncate()
    assert ids(collection, Selection(order=nearest(1, 0))) == []
    collection.insert([record(9, 1, 1)], ordered=True)
    assert ids(collection, Selection(order=nearest(1, 0))) == [9]
    assert collection.totals() == (1, 1)


def test_deletions_by_nearness_that_arrive_together_each_find_another(make: Make) -> None:
    collection = make(VECTORS)
    collection.insert([record(n, 1, n) for n in range(64)], ordered=True)
    selection = Selection(order=nearest(1, 0))

    with ThreadPoolExecutor(16) as threads:
        deleted = list(threads.map(lambda _: collection.delete(selection, 1, WHOLE), range(64)))

    images = [json.loads(item.image.record.json)["_id"] for item in deleted if item.image]
    assert sorted(images) == list(range(64))


# --- order and paging ---------------------------------------------------------------------------------------


def test_without_an_order_documents_come_as_they_were_inserted(make: Make) -> None:
    collection = make()
    collection.insert([record(n) for n in (3, 1, 2)], ordered=True)
    collection.update(set_all(In(("_id",), (3,)), n=1))

    assert ids(collection) == [3, 1, 2]


def test_more_is_said_only_where_more_follow(make: Make) -> None:
    collection = make()
    collection.insert([record(n) for n in range(4)], ordered=True)

    _, after_two = collection.find(Selection(), WHOLE, skip=0, limit=2, after=0)
    assert after_two is not None
    rest, after_four = collection.find(Selection(), WHOLE, skip=0, limit=2, after=after_two)

    assert len(rest) == 2
    assert after_four is None


def test_positions_are_never_used_again(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.catalog.create_keyspace("d", "k")
    engine.catalog.create_collection("d", "k", "c", CollectionSettings(), b"", None)
    collection = engine.collection("d", "k", "c", "")
    collection.insert([record(n) for n in range(3)], ordered=True)
    _, after = collection.find(Selection(), WHOLE, skip=0, limit=2, after=0)
    assert after is not None
    collection.truncate()
    engine.close()
    again = Engine(tmp_path)
    reopened = again.collection("d", "k", "c", "")
    reopened.insert([record("new")], ordered=True)

    found, _ = reopened.find(Selection(), WHOLE, skip=0, limit=9, after=after)

    assert [item.record.json for item in found] == [record("new").json]
    again.close()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(page=st.integers(2, 7), gone=st.sets(st.integers(0, 19)), data=st.data())
def test_paging_while_others_write_neither_repeats_nor_loses(
    make: Make, page: int, gone: set[int], data: st.DataObject
) -> None:
    collection = make()
    collection.truncate()
    collection.insert([record(n, keep=n not in gone) for n in range(20)], ordered=True)
    collection.update(set_all(EVERYTHING, seen=0))
    removals = sorted(gone)
    seen: list[Any] = []
    after = new = 0
    while True:
        found, more = collection.find(Selection(), WHOLE, skip=0, limit=page, after=after)
        seen.extend(json.loads(item.record.json)["_id"] for item in found)
        if more is None:
            break
        after = more
        for _ in range(data.draw(st.integers(0, 2))):
            if removals:
                collection.delete(by_id(removals.pop()), 1, None)
            collection.insert([record(f"new-{new}")], ordered=True)
            new += 1
            collection.update(set_all(In(("keep",), (True,)), seen=new))

    assert len(seen) == len(set(seen))
    assert set(range(20)) - gone <= set(seen)


def test_sorted_documents_are_skipped_and_limited(make: Make) -> None:
    collection = make()
    collection.insert([record(n, v=n % 3) for n in range(6)], ordered=True)
    order = FieldOrder((SortField(("v",), descending=True),))

    assert ids(collection, Selection(order=order)) == [2, 5, 1, 4, 0, 3]
    assert ids(collection, Selection(order=order), skip=1, limit=3) == [5, 1, 4]


def test_too_many_to_sort_are_refused_whatever_the_limit(make: Make) -> None:
    collection = make()
    collection.insert([record(n) for n in range(5)], ordered=True)

    def sort(most: int) -> list[Any]:
        return ids(collection, Selection(order=FieldOrder((SortField(("v",)),), most)), limit=1)

    assert sort(6) == [0]
    with pytest.raises(DataApiError, match="5 or more") as refused:
        sort(5)
    assert refused.value.code == "OVERLOADED_SORT_ROW_LIMIT"


@pytest.mark.parametrize(("limit", "expected"), [(0, (5, False)), (4, (4, True)), (5, (5, False)), (6, (5, False))])
def test_counting_stops_at_the_limit(make: Make, limit: int, expected: tuple[int, bool]) -> None:
    collection = make()
    collection.insert([record(n) for n in range(5)], ordered=True)

    assert collection.count(EVERYTHING, limit) == expected


# --- deletion and failures ----------------------------------------------------------------------------------


def test_deletion_says_whether_more_match_and_shows_what_went(make: Make) -> None:
    collection = make()
    collection.insert([record(n, a=1) for n in range(3)], ordered=True)

    two = collection.delete(Selection(In(("a",), (1,))), 2, None)
    last = collection.delete(Selection(In(("a",), (1,))), 2, WHOLE)
    none = collection.delete(Selection(In(("a",), (1,))), 2, WHOLE)

    assert (two.count, two.more, two.image) == (2, True, None)
    assert (last.count, last.more) == (1, False)
    assert last.image is not None
    assert last.image.record.json == record(2, a=1).json
    assert (none.count, none.more, none.image) == (0, False, None)


def test_a_deleted_document_leaves_no_posting(make: Make) -> None:
    collection = make()
    collection.insert([record(1, a=[1, {"b": None}], c={"d": "e"})], ordered=True)

    collection.delete(by_id(1), 1, None)

    left = list(collection._tables.connection.execute("SELECT count(*) FROM postings"))
    assert left == [(0,)]


def test_a_full_disk_changes_nothing_anywhere(make: Make) -> None:
    collection = make(VECTORS)
    collection.insert([record(1, 1, 0, text="kept")], ordered=True)
    connection = collection._tables.connection
    pages = next(int(count) for (count,) in connection.execute("PRAGMA page_count"))
    connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(DataApiError, match="full") as refused:
        collection.insert([record(n, 1, n, text="x" * 2000) for n in range(2, 50)], ordered=True)

    assert refused.value.code == "FAILED_WRITE_REQUEST"
    assert collection.totals() == (1, 1)
    assert ids(collection) == ids(collection, Selection(order=nearest(1, 1))) == [1]
    connection.execute("PRAGMA max_page_count = 100000")
    collection.insert([record(2, 0, 1, text="found")], ordered=True)
    assert ids(collection, Selection(In(("text",), ("found",)))) == [2]


def test_concurrent_writers_and_readers_agree_in_the_end(make: Make) -> None:
    collection = make(VECTORS)
    mistakes: list[Sequence[Any]] = []
    finished = threading.Event()

    def write(writer: int) -> None:
        for number in range(40):
            identifier = writer * 1000 + number
            collection.insert([record(identifier, 1, identifier, writer=writer)], ordered=True)
            if number % 4 == 0:
                collection.delete(by_id(identifier), 1, None)
            else:
                collection.update(set_all(In(("_id",), (identifier,)), done=True))

    def read() -> None:
        while not finished.is_set():
            found = ids(collection, Selection(In(("done",), (True,)), nearest(1, 1)))
            if len(found) != len(set(found)):
                mistakes.append(found)

    with ThreadPoolExecutor(6) as threads:
        reading = [threads.submit(read) for _ in range(2)]
        for done in [threads.submit(write, writer) for writer in range(4)]:
            done.result(60)
        finished.set()
        for done in reading:
            done.result(60)

    assert not mistakes
    assert collection.totals() == (120, 120)
    assert collection.count(In(("done",), (True,)), 0) == (120, False)
    assert len(ids(collection, Selection(order=nearest(1, 0)), limit=1000)) == 120
