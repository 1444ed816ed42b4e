"""findCollections and deleteCollection."""

import msgspec
from orrery.store.v1 import store_pb2

from services.gateway.command import Command, Context, Level
from services.gateway.commands.keyspaces import existing_name
from services.gateway.envelope import Answer, Encodable
from services.gateway.fields import Fields
from services.gateway.storage import collection_of
from services.runtime.roles import Role


async def find_collections(context: Context, fields: Fields) -> Answer:
    """List the collections of a keyspace: their names, or with `explain` what would create them."""
    explain = fields.nested("options", ("explain",)).boolean("explain")
    request = store_pb2.ListCollectionsRequest(database=context.database, keyspace=context.keyspace)
    response = await context.storage.remote.call(context.storage.rpc.ListCollections, request)
    listed: list[Encodable] = []
    for message in response.collections:
        if explain:
            collection = collection_of(context.database, context.keyspace, message)
            options = msgspec.to_builtins(collection.options)
            listed.append({"name": message.name, "options": options})
        else:
            listed.append(message.name)
    return Answer(status={"collections": listed})


async def delete_collection(context: Context, fields: Fields) -> Answer:
    """Delete a collection with all its documents; a missing one is no error."""
    fields.no_options()
    name = existing_name(fields)
    reference = store_pb2.CollectionRef(database=context.database, keyspace=context.keyspace, name=name)
    request = store_pb2.DropCollectionRequest(collection=reference)
    await context.storage.remote.call(context.storage.rpc.DropCollection, request)
    context.storage.forget(context.database, context.keyspace, name)
    return Answer(status={"ok": 1})


COMMANDS = (
    Command("findCollections", Level.KEYSPACE, Role.READ, ("options",), find_collections),
    Command("deleteCollection", Level.KEYSPACE, Role.ADMIN, ("name", "options"), delete_collection),
)
