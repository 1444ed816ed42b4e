"""countDocuments and estimatedDocumentCount."""

from orrery.store.v1 import store_pb2

from services.gateway.collection import Collection
from services.gateway.command import Command, Context, Level
from services.gateway.envelope import Answer, Encodable
from services.gateway.fields import Fields
from services.gateway.grammar.filter import parse_filter
from services.gateway.storage import reference
from services.runtime.roles import Role


async def count_documents(context: Context, fields: Fields) -> Answer:
    """Count the documents that match, up to the server's limit."""
    fields.no_options()

    async def run(collection: Collection) -> Answer:
        request = store_pb2.CountDocumentsRequest(
            collection=reference(collection),
            filter=parse_filter(fields.get("filter"), collection, context.limits),
            limit=max(0, context.limits.count_documents),
        )
        response = await context.storage.remote.call(context.storage.rpc.CountDocuments, request)
        status: dict[str, Encodable] = {"count": response.count}
        if response.more:
            status["moreData"] = True
        return Answer(status=status)

    return await context.on_collection(run)


async def estimated_document_count(context: Context, fields: Fields) -> Answer:
    """Return how many documents the collection has, without reading them."""
    fields.no_options()

    async def run(collection: Collection) -> Answer:
        request = store_pb2.GetCollectionStatisticsRequest(collection=reference(collection))
        response = await context.storage.remote.call(context.storage.rpc.GetCollectionStatistics, request)
        return Answer(status={"count": response.documents})

    return await context.on_collection(run)


COMMANDS = (
    Command("countDocuments", Level.COLLECTION, Role.READ, ("filter", "options"), count_documents),
    Command("estimatedDocumentCount", Level.COLLECTION, Role.READ, ("options",), estimated_document_count),
)
