"""findOneAndReplace."""

from orrery.store.v1 import store_pb2

from services.documents.codec import JsonObject, encode
from services.documents.rules import check_id
from services.documents.values import id_key
from services.gateway.collection import Collection
from services.gateway.command import Command, Context, Level
from services.gateway.commands.find import projection_of, sort_message, sort_vector
from services.gateway.commands.images import changed_status, read_image, render_image
from services.gateway.documents import check_vectorize_usage, prepare_document
from services.gateway.envelope import Answer
from services.gateway.fields import Fields
from services.gateway.grammar.filter import equality_seed, parse_filter
from services.gateway.grammar.sort import parse_sort
from services.gateway.ids import new_id
from services.gateway.observation import current
from services.gateway.storage import reference
from services.runtime.errors import DataApiError
from services.runtime.roles import Role


async def find_one_and_replace(context: Context, fields: Fields) -> Answer:
    """Replace the first document that matches and return it, as it was or as it is."""
    options = fields.nested("options", ("returnDocument", "upsert"))
    upsert, image = options.boolean("upsert"), read_image(options)
    replacement = fields.object("replacement")
    if replacement is None:
        fields.refuse("replacementDocument", None, "it must not be null")
    fields.finish()

    async def run(collection: Collection) -> Answer:
        check_vectorize_usage(replacement, 1, collection)
        sort = parse_sort(fields.get("sort"), collection, context.limits)
        values = await sort_vector(context, collection, sort)
        wanted = parse_filter(fields.get("filter"), collection, context.limits)
        document = dict(replacement or {})
        if upsert:
            _take_id(document, equality_seed(fields.get("filter")))
        prepared = prepare_document(document, collection, context.limits, give_id=False)
        current().written_bytes += len(prepared.message.json)
        request = store_pb2.ReplaceDocumentRequest(
            collection=reference(collection),
            filter=wanted,
            sort=sort_message(sort, values),
            replacement=prepared.message,
            upsert=upsert,
            new_id=encode(new_id(collection)),
            return_image=image,
            projection=projection_of(fields),
        )
        response = await context.storage.remote.call(context.storage.rpc.ReplaceDocument, request)
        if response.embedding_needed and prepared.text is not None:
            request.replacement.vector.values = await context.embed(collection, prepared.text, search=False)
            response = await context.storage.remote.call(context.storage.rpc.ReplaceDocument, request)
        return Answer(data={"document": render_image(response)}, status=changed_status(response))

    return await context.on_collection(run)


def _take_id(document: JsonObject, seed: JsonObject) -> None:
    """Give the replacement the `_id` that the filter asks for, where a document may be created.

    Raises `DOCUMENT_REPLACE_DIFFERENT_DOCID` when the replacement has another one.
    """
    if "_id" not in seed:
        return
    wanted = seed["_id"]
    given = document.setdefault("_id", wanted)
    check_id(given)
    if id_key(given) != id_key(wanted):
        raise DataApiError(
            "DOCUMENT_REPLACE_DIFFERENT_DOCID",
            matchedId=encode(wanted).decode(),
            replaceId=encode(given).decode(),
        )


COMMANDS = (
    Command(
        "findOneAndReplace",
        Level.COLLECTION,
        Role.WRITE,
        ("filter", "sort", "projection", "replacement", "options"),
        find_one_and_replace,
    ),
)
