"""astrapy 2's cursors, bulk inserts with concurrency, and the same through its asynchronous collection."""

import asyncio
import json
import os
from decimal import Decimal

from astrapy import AsyncCollection, Collection, DataAPIClient
from astrapy.api_options import APIOptions, SerdesOptions
from astrapy.constants import DefaultIdType, ReturnDocument
from astrapy.exceptions import (
    CollectionInsertManyException,
    CursorException,
    DataAPIResponseException,
    TooManyDocumentsToCountException,
)
from astrapy.info import CollectionDefinition

COUNT = 730
client = DataAPIClient(environment=os.environ["ENVIRONMENT"])
database = client.get_database(os.environ["ORRERY_URL"], token=os.environ["ORRERY_TOKEN"], keyspace="default_keyspace")
definition = (
    CollectionDefinition.builder()
    .with_vector_dimension(2)
    .with_indexing("deny", ["blob", "lines.note"])
    .with_default_id(DefaultIdType.UUIDV7)
    .build()
)
collection = database.create_collection(os.environ["COLLECTION"], definition=definition)


def refused(call, code):  # type: ignore[no-untyped-def]
    """Check that a call is refused with a code of the Data API."""
    try:
        call()
    except DataAPIResponseException as error:
        assert error.error_descriptors[0].error_code == code, error
    else:
        raise AssertionError(f"expected {code}")


def bulk(target: Collection) -> None:
    """Insert many documents at once, chunks side by side; failures tell which went in."""
    documents = [{"_id": n, "n": n, "odd": n % 2 == 1, "$vector": [1, n / 100]} for n in range(COUNT)]
    done = target.insert_many(documents, ordered=False, chunk_size=40, concurrency=8)
    assert sorted(done.inserted_ids) == list(range(COUNT))
    assert target.estimated_document_count() == COUNT
    try:
        target.insert_many(
            [{"_id": n} for n in range(COUNT - 3, COUNT + 3)], ordered=False, chunk_size=2, concurrency=3
        )
        raise AssertionError("documents that are there were inserted")
    except CollectionInsertManyException as error:
        assert sorted(error.inserted_ids) == [COUNT, COUNT + 1, COUNT + 2]
        assert len(error.exceptions) == 2
    target.delete_many({"_id": {"$in": [COUNT, COUNT + 1, COUNT + 2]}})
    (generated,) = target.insert_many([{"blob": "x" * 9000, "lines": [{"note": "y" * 9000, "n": 1}]}]).inserted_ids
    assert generated.version == 7
    refused(lambda: target.find_one({"lines.note": "y"}), "FILTER_PATH_UNINDEXED")
    assert target.find_one({"lines.0.n": 1})["_id"] == generated
    target.delete_one({"_id": generated})


def cursors(target: Collection) -> None:
    """Read by cursors in every way they have."""
    cursor = target.find({"odd": True}, projection={"n": 1, "_id": 0})
    assert (cursor.state.value, cursor.consumed) == ("idle", 0)
    first = next(cursor)["n"]
    assert (cursor.state.value, cursor.consumed, cursor.buffered_count) == ("started", 1, 49)
    assert len(cursor.consume_buffer(10)) == 10
    rest = [item["n"] for item in cursor]
    assert cursor.state.value == "closed" and not cursor.has_next()
    assert len(rest) == COUNT // 2 - 11 and first not in rest
    cursor.rewind()
    assert next(cursor)["n"] == first
    again = cursor.clone()
    assert again.consumed == 0 and len(again.to_list()) == COUNT // 2
    doubled = target.find({}).project({"n": 1}).filter({"n": {"$lt": 120}}).map(lambda item: 2 * item["n"])
    assert sorted(doubled.to_list()) == list(range(0, 240, 2))
    seen: list[int] = []
    target.find({"n": {"$lt": 10}}).for_each(lambda item: seen.append(item["n"]) or len(seen) < 4)
    assert len(seen) == 4
    assert [item["n"] for item in target.find({}).sort({"n": -1}).skip(1).limit(2)] == [COUNT - 2, COUNT - 3]
    near = target.find({}).sort({"$vector": [1, 0]}).limit(2).include_similarity(True).include_sort_vector(True)
    assert list(near.get_sort_vector()) == [1, 0] and near.has_next()
    assert [(item["_id"], item["$similarity"] > 0.99) for item in near] == [(0, True), (1, True)]
    try:
        near.limit(5)
        raise AssertionError("a started cursor was changed")
    except CursorException:
        pass
    few = {"n": {"$lt": 130}}
    page = target.find(few).fetch_next_page()
    sizes, listed = [len(page.results)], page.results
    while page.next_page_state is not None:
        page = target.find(few, initial_page_state=page.next_page_state).fetch_next_page()
        sizes, listed = [*sizes, len(page.results)], listed + page.results
    assert sizes == [50, 50, 30] and sorted(item["n"] for item in listed) == list(range(130))


def whole(target: Collection) -> None:
    """The methods that take one document, with every option that they have."""
    assert target.find_one(sort={"n": -1})["n"] == COUNT - 1
    assert target.find_one(sort={"$vector": [1, 0]}, include_similarity=True)["$similarity"] == 1
    changed = target.find_one_and_update(
        {"odd": True}, {"$set": {"hit": 1}}, sort={"n": -1}, projection={"hit": 1}, return_document=ReturnDocument.AFTER
    )
    assert changed == {"_id": COUNT - 1, "hit": 1}
    made = target.find_one_and_replace({"_id": "made"}, {"a": 1}, upsert=True, return_document=ReturnDocument.AFTER)
    assert made == {"_id": "made", "a": 1}
    assert target.find_one_and_replace({"_id": "absent"}, {"a": 1}) is None
    assert target.find_one_and_delete({"odd": False}, sort={"n": -1}, projection=["n"]) == {"_id": 728, "n": 728}
    assert target.update_many({"none": 1}, {"$set": {"a": 2}}, upsert=True).update_info["upserted"] is not None
    assert target.replace_one({"_id": "made"}, {"a": 2}, sort={"a": 1}).update_info["nModified"] == 1
    assert target.distinct("lines.0.n") == [] and target.distinct("hit", filter={"odd": True}) == [1]
    try:
        target.count_documents({}, upper_bound=100)
        raise AssertionError("more were counted than the bound")
    except TooManyDocumentsToCountException:
        pass
    options = target.options()
    assert options.indexing == {"deny": ["blob", "lines.note"]} and options.default_id.default_id_type == "uuidv7"
    exact = target.with_options(api_options=APIOptions(serdes_options=SerdesOptions(use_decimals_in_collections=True)))
    number = Decimal("123456789012345678901234567890.000000000000000000001")
    exact.insert_one({"_id": "exact", "number": number})
    assert exact.find_one({"_id": "exact"})["number"] == number
    refused(lambda: target.command({"find": {"filter": {"a": {"$x": 1}}}}), "FILTER_UNSUPPORTED_OPERATOR")
    refused(lambda: target.database.get_collection("nowhere").find_one(), "UNKNOWN_COLLECTION_OR_TABLE")


async def asynchronously(target: AsyncCollection) -> None:
    """The same collection from an event loop."""
    await target.delete_many({})
    done = await target.insert_many([{"_id": n, "n": n} for n in range(250)], chunk_size=30, concurrency=5)
    assert sorted(done.inserted_ids) == list(range(250))
    found = [n async for n in target.find({"n": {"$gte": 100}}).map(lambda item: item["n"])]
    assert sorted(found) == list(range(100, 250))
    results = await asyncio.gather(
        *(target.find_one_and_update({"_id": 0}, {"$inc": {"n": 1}}, return_document="after") for _ in range(40))
    )
    assert sorted(item["n"] for item in results) == list(range(1, 41))
    assert (await target.update_many({}, {"$set": {"seen": True}})).update_info["n"] == 250
    assert (await target.delete_many({"n": {"$gte": 200}})).deleted_count == 50
    assert await target.count_documents({}, upper_bound=1000) == 200
    assert await target.distinct("seen") == [True]


bulk(collection)
cursors(collection)
whole(collection)
asyncio.run(asynchronously(collection.to_async()))
collection.drop()
print(json.dumps({"done": True}))
