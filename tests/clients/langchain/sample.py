"""LangChain's vector store on a live server: add, search, filter, MMR, update metadata, delete, autodetect."""

import json
import os

from astrapy.info import VectorServiceOptions
from langchain_astradb import AstraDBVectorStore
from langchain_core.documents import Document

connection = {
    "collection_name": os.environ["COLLECTION"],
    "api_endpoint": os.environ["ORRERY_URL"],
    "token": os.environ["ORRERY_TOKEN"],
    "environment": os.environ["ENVIRONMENT"],
    "namespace": "default_keyspace",
}
service = VectorServiceOptions(
    provider=os.environ["PROVIDER"],
    model_name=os.environ["MODEL"],
    authentication={"providerKey": os.environ["KEY_NAME"]},
)
store = AstraDBVectorStore(**connection, collection_vector_service_options=service)
documents = json.loads(os.environ["DOCUMENTS"])
store.add_documents(
    [
        Document(id=item["_id"], page_content=item["$vectorize"], metadata={"kind": item["kind"], "n": number})
        for number, item in enumerate(documents)
    ]
)
query = os.environ["QUERY"]
scored = store.similarity_search_with_score(query, k=3)
filtered = store.similarity_search(query, k=1, filter={"kind": "food"})
diverse = store.max_marginal_relevance_search(query, k=2, fetch_k=4)
store.update_metadata({"cake": {"kind": "dessert"}})
updated = store.similarity_search(query, k=1, filter={"kind": "dessert"})
store.delete(["goal"])
detected = AstraDBVectorStore(**connection, autodetect_collection=True, collection_vector_service_options=None)
again = detected.similarity_search(query, k=4)
result = {
    "found": [document.id for document, _ in scored],
    "similarities": [score for _, score in scored],
    "filtered": filtered[0].id,
    "updated": updated[0].id,
    "count": len(again),
    "diverse": [document.id for document in diverse],
    "again": again[0].id,
}
store.delete_collection()
print(json.dumps(result))
