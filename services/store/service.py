"""The store's RPCs: messages in, typed calls on the engine, messages out."""

from collections.abc import Callable, Iterator

import grpc
from orrery.store.v1 import store_pb2 as pb
from orrery.store.v1 import store_pb2_grpc

from services.runtime.callers import caller_name
from services.store import finds, messages
from services.store.changes import InsertOutcome
from services.store.collection import Collection
from services.store.engine import Engine
from services.store.find_sessions import FindSessions

_OUTCOMES = {
    InsertOutcome.INSERTED: pb.INSERT_OUTCOME_INSERTED,
    InsertOutcome.ALREADY_EXISTS: pb.INSERT_OUTCOME_ALREADY_EXISTS,
    InsertOutcome.SKIPPED: pb.INSERT_OUTCOME_SKIPPED,
}

#: What a write takes while it is under way, in sizes of its request: its documents parsed, their postings, pages.
_PARSED_TIMES = 12

Context = grpc.ServicerContext


class StoreServicer(store_pb2_grpc.StoreServiceServicer):
    """`orrery.store.v1.StoreService` over an engine. Each RPC is described in the contract.

    `sessions` answers streams of finds. `caller` tells who calls, for the audit log.
    """

    def __init__(self, engine: Engine, sessions: FindSessions, caller: Callable[[Context], str] = caller_name) -> None:
        self._engine = engine
        self._sessions = sessions
        self._caller = caller
        self._budget = engine.budget

    # --- keyspaces ---

    def CreateKeyspace(  # noqa: N802 - the contract's name
        self, request: pb.CreateKeyspaceRequest, context: Context
    ) -> pb.CreateKeyspaceResponse:
        """Create a keyspace."""
        self._engine.catalog.create_keyspace(
            request.database,
            request.keyspace,
            existing_database=request.existing_database,
            who=self._caller(context),
        )
        return pb.CreateKeyspaceResponse()

    def ListKeyspaces(  # noqa: N802
        self, request: pb.ListKeyspacesRequest, context: Context
    ) -> pb.ListKeyspacesResponse:
        """List the keyspaces of a database."""
        return pb.ListKeyspacesResponse(keyspaces=self._engine.catalog.keyspaces(request.database))

    def DropKeyspace(  # noqa: N802
        self, request: pb.DropKeyspaceRequest, context: Context
    ) -> pb.DropKeyspaceResponse:
        """Drop a keyspace."""
        self._engine.drop_keyspace(request.database, request.keyspace)
        return pb.DropKeyspaceResponse()

    # --- collections ---

    def CreateCollection(  # noqa: N802
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        """Create a collection, or return the one that is there."""
        entry, created = self._engine.catalog.create_collection(
            request.database,
            request.keyspace,
            request.name,
            messages.read_settings(request.settings),
            request.attributes,
            request.max_collections if request.HasField("max_collections") else None,
        )
        return pb.CreateCollectionResponse(collection=messages.collection_message(entry), created=created)

    def ListCollections(  # noqa: N802
        self, request: pb.ListCollectionsRequest, context: Context
    ) -> pb.ListCollectionsResponse:
        """List the collections of a keyspace."""
        entries = self._engine.catalog.collections(request.database, request.keyspace)
        return pb.ListCollectionsResponse(collections=map(messages.collection_message, entries))

    def GetCollection(  # noqa: N802
        self, request: pb.GetCollectionRequest, context: Context
    ) -> pb.GetCollectionResponse:
        """Return one collection."""
        name = request.collection
        entry = self._engine.catalog.collection(name.database, name.keyspace, name.name, name.uid)
        return pb.GetCollectionResponse(collection=messages.collection_message(entry))

    def DropCollection(  # noqa: N802
        self, request: pb.DropCollectionRequest, context: Context
    ) -> pb.DropCollectionResponse:
        """Drop a collection."""
        name = request.collection
        self._engine.drop_collection(name.database, name.keyspace, name.name)
        return pb.DropCollectionResponse()

    # --- documents ---

    def InsertDocuments(  # noqa: N802
        self, request: pb.InsertDocumentsRequest, context: Context
    ) -> pb.InsertDocumentsResponse:
        """Insert documents."""
        with self._budget.reserve(_PARSED_TIMES * request.ByteSize()):
            records = [messages.read_record(document) for document in request.documents]
            outcomes = self._collection(request.collection).insert(records, ordered=request.ordered)
        return pb.InsertDocumentsResponse(outcomes=[_OUTCOMES[outcome] for outcome in outcomes])

    def FindDocuments(  # noqa: N802
        self, request: pb.FindDocumentsRequest, context: Context
    ) -> pb.FindDocumentsResponse:
        """Find documents."""
        response = pb.FindDocumentsResponse()
        finds.find(self._engine, request, response)
        return response

    def FindDocumentsTogether(  # noqa: N802
        self, request: pb.FindDocumentsTogetherRequest, context: Context
    ) -> pb.FindDocumentsTogetherResponse:
        """Answer several finds."""
        response = pb.FindDocumentsTogetherResponse()
        finds.find_together(self._engine, request.finds, response)
        return response

    def FindDocumentsInTurn(  # noqa: N802
        self, request_iterator: Iterator[pb.FindDocumentsInTurnRequest], context: Context
    ) -> Iterator[pb.FindDocumentsInTurnResponse]:
        """Answer finds one after the other."""
        yield from self._sessions.answer(request_iterator, context)

    def StreamDocuments(  # noqa: N802
        self, request: pb.StreamDocumentsRequest, context: Context
    ) -> Iterator[pb.StreamDocumentsResponse]:
        """Find all documents that match."""
        yield from finds.stream(self._engine, request, self._engine.settings.requests.page_documents)

    def CountDocuments(  # noqa: N802
        self, request: pb.CountDocumentsRequest, context: Context
    ) -> pb.CountDocumentsResponse:
        """Count documents."""
        filter_ = messages.read_filter(request.filter)
        count, more = self._collection(request.collection).count(filter_, request.limit)
        return pb.CountDocumentsResponse(count=count, more=more)

    def GetCollectionStatistics(  # noqa: N802
        self, request: pb.GetCollectionStatisticsRequest, context: Context
    ) -> pb.GetCollectionStatisticsResponse:
        """Return figures about a collection."""
        documents, vectors = self._collection(request.collection).totals()
        return pb.GetCollectionStatisticsResponse(documents=documents, vectors=vectors)

    def UpdateDocuments(  # noqa: N802
        self, request: pb.UpdateDocumentsRequest, context: Context
    ) -> pb.UpdateDocumentsResponse:
        """Change documents."""
        with self._budget.reserve(_PARSED_TIMES * request.ByteSize()):
            changed = self._collection(request.collection).update(messages.read_update(request))
        return messages.update_message(changed)

    def ReplaceDocument(  # noqa: N802
        self, request: pb.ReplaceDocumentRequest, context: Context
    ) -> pb.ReplaceDocumentResponse:
        """Replace a document."""
        with self._budget.reserve(_PARSED_TIMES * request.ByteSize()):
            changed = self._collection(request.collection).replace(messages.read_replacement(request))
        return messages.replacement_message(changed)

    def DeleteDocuments(  # noqa: N802
        self, request: pb.DeleteDocumentsRequest, context: Context
    ) -> pb.DeleteDocumentsResponse:
        """Delete documents."""
        deleted = self._collection(request.collection).delete(
            messages.read_selection(request.filter, request.sort),
            max(1, request.limit),
            messages.read_projection(request.projection) if request.return_image else None,
        )
        return messages.deletion_message(deleted)

    def TruncateCollection(  # noqa: N802
        self, request: pb.TruncateCollectionRequest, context: Context
    ) -> pb.TruncateCollectionResponse:
        """Delete all documents."""
        self._collection(request.collection).truncate()
        return pb.TruncateCollectionResponse()

    def _collection(self, name: pb.CollectionRef) -> Collection:
        return self._engine.collection(name.database, name.keyspace, name.name, name.uid)
