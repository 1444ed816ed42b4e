"""Every method of astrapy 2's collection, with vectors of the caller's own, each result checked where it comes."""

import datetime
import json
import os

from astrapy import DataAPIClient
from astrapy.constants import ReturnDocument, SortMode
from astrapy.data_types import DataAPITimestamp, DataAPIVector
from astrapy.exceptions import CollectionInsertManyException, DataAPIResponseException
from astrapy.ids import UUID, ObjectId
from astrapy.info import CollectionDefinition

client = DataAPIClient(environment=os.environ["ENVIRONMENT"])
database = client.get_database(os.environ["ORRERY_URL"], token=os.environ["ORRERY_TOKEN"], keyspace="default_keyspace")
definition = CollectionDefinition.builder().with_vector_dimension(3).with_vector_metric("euclidean").build()
collection = database.create_collection(os.environ["COLLECTION"], definition=definition)
assert os.environ["COLLECTION"] in database.list_collection_names()
assert collection.options().vector.metric == "euclidean"

# insert
identifier = UUID("0191f4c0-0000-7000-8000-000000000001")
when = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
assert collection.insert_one({"_id": identifier, "at": when, "$vector": [1, 0, 0]}).inserted_id == identifier
object_id = ObjectId("65f000000000000000000001")
many = [
    {"_id": number, "n": number, "tags": [str(number % 3)], "$vector": [0.5, number / 512, 0]} for number in range(500)
]
assert len(collection.insert_many([*many, {"_id": object_id, "n": -1}]).inserted_ids) == 501
try:
    collection.insert_many([{"_id": "new"}, {"_id": 3}, {"_id": "newer"}], ordered=True)
    raise AssertionError("a duplicate was inserted")
except CollectionInsertManyException as error:
    assert error.inserted_ids == ["new"]

# find
found = collection.find_one({"_id": identifier})
assert DataAPITimestamp.from_datetime(when) == found["at"]
assert collection.find_one({"_id": object_id})["n"] == -1
assert [item["n"] for item in collection.find({"n": {"$lt": 3}}, sort={"n": SortMode.DESCENDING})] == [2, 1, 0, -1]
cursor = collection.find({"n": {"$gte": 0}}, projection={"n": True, "_id": False}).map(lambda item: item["n"])
numbers = cursor.to_list()
assert sorted(numbers) == list(range(500))
cursor.rewind()
assert next(cursor) == numbers[0]
page = collection.find({"n": {"$gte": 0}}, sort={"n": 1}, skip=2, limit=2, projection={"n": 1}).to_list()
assert page == [{"_id": 2, "n": 2}, {"_id": 3, "n": 3}]
near = collection.find(
    {}, sort={"$vector": DataAPIVector([0.5, 0.5, 0])}, limit=3, include_similarity=True, include_sort_vector=True
)
assert list(near.get_sort_vector()) == [0.5, 0.5, 0]
nearest = near.to_list()
assert [item["_id"] for item in nearest] == [256, 255, 257], nearest
assert nearest[0]["$similarity"] == 1
assert collection.find_one({"_id": 1}, projection={"*": True})["$vector"] == DataAPIVector([0.5, 1 / 512, 0])
assert sorted(collection.distinct("tags")) == ["0", "1", "2"]
assert collection.count_documents({"tags": "1"}, upper_bound=1000) == 167
assert collection.estimated_document_count() > 500

# update
assert collection.update_one({"_id": 1}, {"$set": {"color": "red"}}).update_info["nModified"] == 1
assert collection.update_one({"_id": "made"}, {"$set": {"a": 1}}, upsert=True).update_info["upserted"] == "made"
assert collection.update_many({"n": {"$gte": 0}}, {"$inc": {"n": 1000}}).update_info["n"] == 500
after = collection.find_one_and_update({"_id": 2}, {"$push": {"tags": "x"}}, return_document=ReturnDocument.AFTER)
assert after["tags"] == ["2", "x"]
before = collection.find_one_and_replace({"_id": 2}, {"fresh": True})
assert before["n"] == 1002
assert collection.replace_one({"_id": 2}, {"fresher": True}).update_info["n"] == 1
assert collection.find_one({"_id": 2}) == {"_id": 2, "fresher": True}

# delete
assert collection.find_one_and_delete({"_id": 2}) == {"_id": 2, "fresher": True}
assert collection.delete_one({"_id": 1}).deleted_count == 1
assert collection.delete_many({"n": {"$gte": 1400}}).deleted_count == 100
assert collection.delete_many({}).deleted_count == -1
assert collection.count_documents({}, upper_bound=10) == 0

# errors carry their code
try:
    collection.find_one({"$bad": 1})
    raise AssertionError("a bad filter was taken")
except DataAPIResponseException as error:
    assert error.error_descriptors[0].error_code == "FILTER_INVALID_EXPRESSION"
database.drop_collection(os.environ["COLLECTION"])
assert os.environ["COLLECTION"] not in database.list_collection_names()
administrator = database.get_database_admin()
administrator.create_keyspace("from_astrapy")
assert "from_astrapy" in administrator.list_keyspaces()
administrator.drop_keyspace("from_astrapy")
print(json.dumps({"done": True}))
