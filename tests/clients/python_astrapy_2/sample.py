"""Vectorize with astrapy 2: a collection that embeds, texts inserted, texts found by meaning."""

import json
import os

from astrapy import DataAPIClient
from astrapy.info import CollectionDefinition, VectorServiceOptions

client = DataAPIClient(environment=os.environ["ENVIRONMENT"])
database = client.get_database(os.environ["ORRERY_URL"], token=os.environ["ORRERY_TOKEN"], keyspace="default_keyspace")
service = VectorServiceOptions(
    provider=os.environ["PROVIDER"],
    model_name=os.environ["MODEL"],
    authentication={"providerKey": os.environ["KEY_NAME"]},
)
collection = database.create_collection(
    os.environ["COLLECTION"],
    definition=CollectionDefinition.builder()
    .with_vector_service(service)
    .with_vector_dimension(int(os.environ["DIMENSION"]))
    .with_vector_metric("cosine")
    .build(),
)
documents = json.loads(os.environ["DOCUMENTS"])
collection.insert_one(documents[0])
collection.insert_many(documents[1:])

query = os.environ["QUERY"]
found = list(collection.find(sort={"$vectorize": query}, limit=3, include_similarity=True))
filtered = collection.find_one({"kind": "food"}, sort={"$vectorize": query})
collection.update_one({"_id": "cake"}, {"$set": {"$vectorize": os.environ["NEW_TEXT"]}})
updated = collection.find_one(sort={"$vectorize": os.environ["NEW_QUERY"]})
collection.delete_one({"_id": "goal"})
result = {
    "found": [document["_id"] for document in found],
    "similarities": [document["$similarity"] for document in found],
    "filtered": filtered["_id"],
    "updated": updated["_id"],
    "count": collection.count_documents({}, upper_bound=100),
}
collection.drop()
print(json.dumps(result))
