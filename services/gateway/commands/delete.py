"""deleteOne, deleteMany and findOneAndDelete."""

from orrery.store.v1 import store_pb2

from services.gateway.collection import Collection
from services.gateway.command import Command, Context, Level
from services.gateway.commands.find import projection_of, sort_message, sort_vector
from services.gateway.envelope import Answer, Encodable
from services.gateway.fields import Fields
from services.gateway.grammar.filter import is_explicitly_empty, parse_filter
from services.gateway.grammar.sort import parse_sort
from services.gateway.rendering import render_document
from services.gateway.storage import reference
from services.runtime.errors import DataApiError
from services.runtime.roles import Role


async def delete_one(context: Context, fields: Fields) -> Answer:
    """Delete the first document that matches."""
    fields.no_options()
    if fields.get("filter") is None:
        fields.refuse("filterDefinition", None, "it must not be null; give {} to delete any document")
        fields.finish()

    async def run(collection: Collection) -> Answer:
        response = await _delete_first(context, fields, collection, None)
        return Answer(status={"deletedCount": response.deleted_count})

    return await context.on_collection(run)


async def find_one_and_delete(context: Context, fields: Fields) -> Answer:
    """Delete the first document that matches and return it."""

    async def run(collection: Collection) -> Answer:
        response = await _delete_first(context, fields, collection, projection_of(fields))
        document = render_document(response.image, include_similarity=False) if response.deleted_count else None
        return Answer(data={"document": document}, status={"deletedCount": response.deleted_count})

    return await context.on_collection(run)


async def _delete_first(
    context: Context, fields: Fields, collection: Collection, projection: store_pb2.Projection | None
) -> store_pb2.DeleteDocumentsResponse:
    clause = parse_sort(fields.get("sort"), collection, context.limits)
    values = await sort_vector(context, collection, clause)
    request = store_pb2.DeleteDocumentsRequest(
        collection=reference(collection),
        filter=parse_filter(fields.get("filter"), collection, context.limits),
        sort=sort_message(clause, values),
        limit=1,
        return_image=projection is not None,
        projection=projection,
    )
    response: store_pb2.DeleteDocumentsResponse = await context.storage.remote.call(
        context.storage.rpc.DeleteDocuments, request
    )
    return response


async def delete_many(context: Context, fields: Fields) -> Answer:
    """Delete documents: some at a time with a filter, all of them without."""
    fields.no_options()

    async def run(collection: Collection) -> Answer:
        given = fields.get("filter")
        wanted = parse_filter(given, collection, context.limits)
        if wanted is None:
            if not is_explicitly_empty(given):
                raise DataApiError(
                    "FILTER_INVALID_EXPRESSION",
                    problem="it has no condition and would delete every document; leave the filter out, "
                    "or give {}, if that is wanted",
                )
            everything = store_pb2.TruncateCollectionRequest(collection=reference(collection))
            await context.storage.remote.call(context.storage.rpc.TruncateCollection, everything)
            return Answer(status={"deletedCount": -1})
        request = store_pb2.DeleteDocumentsRequest(
            collection=reference(collection), filter=wanted, limit=context.limits.delete_many_documents
        )
        response = await context.storage.remote.call(context.storage.rpc.DeleteDocuments, request)
        status: dict[str, Encodable] = {"deletedCount": response.deleted_count}
        if response.more:
            status["moreData"] = True
        return Answer(status=status)

    return await context.on_collection(run)


COMMANDS = (
    Command("deleteOne", Level.COLLECTION, Role.WRITE, ("filter", "sort", "options"), delete_one),
    Command("deleteMany", Level.COLLECTION, Role.WRITE, ("filter", "options"), delete_many),
    Command("findOneAndDelete", Level.COLLECTION, Role.WRITE, ("filter", "sort", "projection"), find_one_and_delete),
)
