"""The store as the gateway uses it: its RPCs, and the collections it has, remembered."""

import dataclasses
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
import msgspec
from orrery.store.v1 import store_pb2, store_pb2_grpc

from services.gateway.collection import Collection, decode_options
from services.gateway.find_sessions import FindSessions
from services.gateway.gathering import FindGathering
from services.gateway.remote import store_remote
from services.runtime.errors import DataApiError

Result = TypeVar("Result")

_REMEMBERED_COLLECTIONS = 10_000


def collection_of(database: str, keyspace: str, message: store_pb2.Collection) -> Collection:
    """Return a collection of the store, ready for commands.

    Raises `CORRUPTED_COLLECTION_SCHEMA` when its options cannot be read.
    """
    try:
        options = decode_options(message.attributes)
    except msgspec.DecodeError as error:
        raise DataApiError(
            "CORRUPTED_COLLECTION_SCHEMA", keyspace=keyspace, collection=message.name, problem=str(error)
        ) from error
    indexing = options.indexing.rules() if options.indexing is not msgspec.UNSET else None
    known = Collection(database, keyspace, message.name, message.uid, options)
    return known if indexing is None else dataclasses.replace(known, indexing=indexing)


class Storage:
    """The store's RPCs for one gateway.

    Every document command names the collection by its uid. When the store answers that the collection is another
    one by now, what is remembered is thrown away and the command starts over, once.
    """

    def __init__(self, channel: grpc.aio.Channel, timeout_seconds: float) -> None:
        self.rpc = store_pb2_grpc.StoreServiceStub(channel)
        self.remote = store_remote(timeout_seconds)
        self.finds = FindGathering(FindSessions(self.rpc), self.remote)
        self._collections: OrderedDict[tuple[str, str, str], Collection] = OrderedDict()

    async def collection(self, database: str, keyspace: str, name: str) -> Collection:
        """Return a collection. Raises `UNKNOWN_KEYSPACE` or `UNKNOWN_COLLECTION_OR_TABLE`."""
        key = (database, keyspace, name)
        known = self._collections.get(key)
        if known is not None:
            self._collections.move_to_end(key)
            return known
        reference = store_pb2.CollectionRef(database=database, keyspace=keyspace, name=name)
        response = await self.remote.call(self.rpc.GetCollection, store_pb2.GetCollectionRequest(collection=reference))
        known = collection_of(database, keyspace, response.collection)
        self._collections[key] = known
        if len(self._collections) > _REMEMBERED_COLLECTIONS:
            self._collections.popitem(last=False)
        return known

    async def on_collection(
        self, database: str, keyspace: str, name: str, command: Callable[[Collection], Awaitable[Result]]
    ) -> Result:
        """Run a command on a collection, again if the collection turns out to be another one by now."""
        try:
            return await command(await self.collection(database, keyspace, name))
        except DataApiError as error:
            if error.code in ("COLLECTION_CHANGED", "UNKNOWN_KEYSPACE", "UNKNOWN_COLLECTION_OR_TABLE"):
                self.forget(database, keyspace, name)
            if error.code != "COLLECTION_CHANGED":
                raise
        return await command(await self.collection(database, keyspace, name))

    def forget_database(self, database: str) -> None:
        """Forget what is remembered of all collections of a database: another one may get its name."""
        for key in [key for key in self._collections if key[0] == database]:
            del self._collections[key]

    def forget(self, database: str, keyspace: str, name: str) -> None:
        """Forget what is remembered of a collection."""
        self._collections.pop((database, keyspace, name), None)


def reference(collection: Collection) -> store_pb2.CollectionRef:
    """Return how requests name a collection."""
    return store_pb2.CollectionRef(
        database=collection.database, keyspace=collection.keyspace, name=collection.name, uid=collection.uid
    )
