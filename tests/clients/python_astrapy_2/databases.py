"""Many databases with astrapy 2: each under its own host name, opened by tokens with roles."""

import json
import os
import socket
from typing import Any

from astrapy import DataAPIClient, Database
from astrapy.exceptions import DataAPIHttpException
from astrapy.info import CollectionDefinition

resolve = socket.getaddrinfo


def resolve_here(host: Any, *arguments: Any, **named: Any) -> Any:
    """Return this machine for names below localhost, as most systems do by themselves."""
    if isinstance(host, str | bytes):
        name = host if isinstance(host, str) else host.decode()
        host = "127.0.0.1" if name.endswith(".localhost") else host
    return resolve(host, *arguments, **named)


socket.getaddrinfo = resolve_here
client = DataAPIClient(environment=os.environ["ENVIRONMENT"])
collection = os.environ["COLLECTION"]


def database(endpoint: str, token: str) -> Database:
    """Return a database with its usual keyspace."""
    return client.get_database(endpoint, token=token, keyspace="default_keyspace")


def refused(call: Any) -> tuple[int, str]:
    """Return status and code of the error of a call."""
    try:
        call()
    except DataAPIHttpException as error:
        return error.response.status_code, str(error.error_descriptors[0].error_code)
    raise AssertionError("it was not refused")


first = database(os.environ["FIRST_URL"], os.environ["FIRST_TOKEN"])
second = database(os.environ["SECOND_URL"], os.environ["SECOND_TOKEN"])
definition = CollectionDefinition.builder().with_vector_dimension(2).build()
for one, text in ((first, "first"), (second, "second")):
    made = one.create_collection(collection, definition=definition)
    made.insert_many([{"_id": n, "of": text, "$vector": [1, n]} for n in range(30)])
first.get_database_admin().create_keyspace("more")

reader = database(os.environ["FIRST_URL"], os.environ["READ_TOKEN"])
result = {
    "first": sorted({document["of"] for document in first.get_collection(collection).find(sort={"$vector": [1, 2]})}),
    "second": sorted({document["of"] for document in second.get_collection(collection).find({})}),
    "keyspaces": [sorted(one.get_database_admin().list_keyspaces()) for one in (first, second)],
    "read": reader.get_collection(collection).count_documents({}, upper_bound=100),
    "read_only": refused(lambda: reader.get_collection(collection).insert_one({})),
    "wrong_database": refused(database(os.environ["SECOND_URL"], os.environ["FIRST_TOKEN"]).list_collection_names),
    "no_database": refused(database(os.environ["NO_URL"], os.environ["FIRST_TOKEN"]).list_collection_names),
}
print(json.dumps(result))
