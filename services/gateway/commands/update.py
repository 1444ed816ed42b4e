"""updateOne, updateMany and findOneAndUpdate."""

from orrery.store.v1 import store_pb2

from services.documents.codec import encode
from services.gateway.collection import Collection
from services.gateway.command import Command, Context, Level
from services.gateway.commands.find import projection_of, sort_message, sort_vector
from services.gateway.commands.images import changed_status, read_image, render_image
from services.gateway.envelope import Answer
from services.gateway.fields import Fields
from services.gateway.grammar.filter import equality_seed, parse_filter
from services.gateway.grammar.sort import parse_sort
from services.gateway.grammar.update import UpdateClause, check_update_shape, parse_update
from services.gateway.ids import new_id
from services.gateway.page_state import PageState, seal, unseal
from services.gateway.storage import reference
from services.runtime.roles import Role


async def update_one(context: Context, fields: Fields) -> Answer:
    """Change the first document that matches."""
    upsert = fields.nested("options", ("upsert",)).boolean("upsert")
    _require_update(fields)

    async def run(collection: Collection) -> Answer:
        request, clause = await _request(context, fields, collection, upsert=upsert, limit=1)
        response = await _update(context, collection, request, clause)
        return Answer(status=changed_status(response))

    return await context.on_collection(run)


async def find_one_and_update(context: Context, fields: Fields) -> Answer:
    """Change the first document that matches and return it, as it was or as it is."""
    options = fields.nested("options", ("returnDocument", "upsert"))
    upsert, image = options.boolean("upsert"), read_image(options)
    _require_update(fields)

    async def run(collection: Collection) -> Answer:
        request, clause = await _request(context, fields, collection, upsert=upsert, limit=1)
        request.return_image = image
        request.projection.CopyFrom(projection_of(fields))
        response = await _update(context, collection, request, clause)
        return Answer(data={"document": render_image(response)}, status=changed_status(response))

    return await context.on_collection(run)


async def update_many(context: Context, fields: Fields) -> Answer:
    """Change documents that match, some at a time."""
    options = fields.nested("options", ("upsert", "pageState", "pagingState"))
    upsert = options.boolean("upsert")
    page_state = options.string("pageState") or options.string("pagingState")
    _require_update(fields)

    async def run(collection: Collection) -> Answer:
        limit = context.limits.update_many_documents
        request, clause = await _request(context, fields, collection, upsert=upsert, limit=limit)
        if page_state:
            request.after = unseal(page_state, collection.uid).after
            request.ClearField("upsert")
        response = await _update(context, collection, request, clause)
        status = changed_status(response)
        if response.HasField("next_after"):
            status["moreData"] = True
            status["nextPageState"] = seal(PageState(response.next_after), collection.uid)
        return Answer(status=status)

    return await context.on_collection(run)


def _require_update(fields: Fields) -> None:
    if fields.get("update") is None:
        fields.refuse("updateClause", None, "it must not be null")
    else:
        check_update_shape(fields.get("update"))
    fields.finish()


async def _request(
    context: Context, fields: Fields, collection: Collection, *, upsert: bool, limit: int
) -> tuple[store_pb2.UpdateDocumentsRequest, UpdateClause]:
    clause = parse_update(fields.get("update"), collection, context.limits)
    sort = parse_sort(fields.get("sort"), collection, context.limits)
    values = await sort_vector(context, collection, sort)
    request = store_pb2.UpdateDocumentsRequest(
        collection=reference(collection),
        filter=parse_filter(fields.get("filter"), collection, context.limits),
        sort=sort_message(sort, values),
        operations=clause.operations,
        specials=clause.specials,
        limit=limit,
    )
    if upsert:
        request.upsert.json = encode(equality_seed(fields.get("filter")))
        request.new_id = encode(new_id(collection))
    return request, clause


async def _update(
    context: Context, collection: Collection, request: store_pb2.UpdateDocumentsRequest, clause: UpdateClause
) -> store_pb2.UpdateDocumentsResponse:
    """Update; embed the text of `$vectorize` only once the store says that a document will change by it."""
    response: store_pb2.UpdateDocumentsResponse = await context.storage.remote.call(
        context.storage.rpc.UpdateDocuments, request
    )
    if response.embedding_needed and clause.vectorize_text is not None:
        vector = await context.embed(collection, clause.vectorize_text, search=False)
        for special in request.specials:
            if special.WhichOneof("vector_change") == "vectorize":
                special.vectorize.values = vector
        response = await context.storage.remote.call(context.storage.rpc.UpdateDocuments, request)
    return response


COMMANDS = (
    Command("updateOne", Level.COLLECTION, Role.WRITE, ("filter", "sort", "update", "options"), update_one),
    Command("updateMany", Level.COLLECTION, Role.WRITE, ("filter", "update", "options"), update_many),
    Command(
        "findOneAndUpdate",
        Level.COLLECTION,
        Role.WRITE,
        ("filter", "sort", "projection", "update", "options"),
        find_one_and_update,
    ),
)
