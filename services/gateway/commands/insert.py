"""insertOne and insertMany."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from orrery.store.v1 import store_pb2

from services.documents.codec import JsonValue
from services.gateway.collection import Collection
from services.gateway.command import Command, Context, Level
from services.gateway.documents import (
    PreparedDocument,
    check_vectorize_usage,
    expand_hybrid,
    prepare_document,
    prepared_id,
)
from services.gateway.envelope import Answer, Encodable
from services.gateway.fields import Fields
from services.gateway.observation import current
from services.gateway.storage import reference
from services.runtime.errors import DataApiError
from services.runtime.roles import Role


@dataclass(frozen=True, slots=True)
class Skipped:
    """A document that was not tried, after one that failed; with the JSON text of its id if it has one."""

    id_json: bytes | None


#: What became of one document: inserted, failed with an error, or not tried.
Outcome = PreparedDocument | DataApiError | Skipped


async def insert_one(context: Context, fields: Fields) -> Answer:
    """Insert a document."""
    fields.no_options()
    if not fields.has("document"):
        fields.refuse("document", None, "it must not be null")
        fields.finish()

    async def run(collection: Collection) -> Answer:
        outcomes = await _insert(context, collection, [fields.get("document")], ordered=True)
        return _answer_with_ids(outcomes)

    return await context.on_collection(run)


async def insert_many(context: Context, fields: Fields) -> Answer:
    """Insert documents, all that can be or, ordered, those before the first that cannot."""
    documents = fields.array("documents")
    options = fields.nested("options", ("ordered", "returnDocumentResponses"))
    ordered, responses = options.boolean("ordered"), options.boolean("returnDocumentResponses")
    # The reference fails the whole command for one text. Whoever writes that the order does not matter gets the rest.
    partial = options.has("ordered") and not ordered
    most = context.limits.insert_many_documents
    if documents is None:
        fields.refuse("documents", None, "it must not be null")
    elif not 1 <= len(documents) <= most:
        fields.refuse("documents", documents, f"it has {len(documents)} documents; 1 to {most} can be inserted at once")
    fields.finish()

    async def run(collection: Collection) -> Answer:
        outcomes = await _insert(context, collection, documents or [], ordered=ordered, partial=partial)
        return _answer_with_responses(outcomes) if responses else _answer_with_ids(outcomes)

    return await context.on_collection(run)


async def _insert(
    context: Context,
    collection: Collection,
    documents: Sequence[JsonValue],
    *,
    ordered: bool,
    partial: bool = False,
) -> list[Outcome]:
    """Insert documents and return what became of each, in their order.

    With `partial` a text that cannot be embedded is its document's failure alone.
    """
    count = len(documents)
    expanded = [expand_hybrid(document, at + 1, count) for at, document in enumerate(documents)]
    for at, document in enumerate(expanded):
        check_vectorize_usage(document, at + 1, collection)
    outcomes: list[Outcome] = []
    for document in expanded:
        try:
            outcomes.append(prepare_document(document, collection, context.limits))
        except DataApiError as error:
            outcomes.append(error)
            if ordered:
                break
    await _embed(context, collection, outcomes, partial=partial)
    valid = [(at, outcome) for at, outcome in enumerate(outcomes) if isinstance(outcome, PreparedDocument)]
    outcomes.extend(map(_skipped, expanded[len(outcomes) :]))
    if not valid:
        return outcomes
    current().written_bytes += sum(len(document.message.json) for _, document in valid)
    request = store_pb2.InsertDocumentsRequest(
        collection=reference(collection), documents=[document.message for _, document in valid], ordered=ordered
    )
    response = await context.storage.remote.call(context.storage.rpc.InsertDocuments, request)
    for (at, prepared), outcome in zip(valid, response.outcomes, strict=True):
        if outcome == store_pb2.INSERT_OUTCOME_ALREADY_EXISTS:
            outcomes[at] = _already_exists(prepared)
            if ordered:
                outcomes[at + 1 :] = map(_skipped, expanded[at + 1 :])
                break
    return outcomes


async def _embed(context: Context, collection: Collection, outcomes: list[Outcome], *, partial: bool) -> None:
    """Embed every text of the documents in one call; the error of one that fails alone takes its place."""
    texts = [
        (at, document, document.text)
        for at, document in enumerate(outcomes)
        if isinstance(document, PreparedDocument) and document.text is not None
    ]
    if not texts:
        return
    vectors = await context.embed_all(collection, [text for _, _, text in texts], partial=partial)
    for (at, document, _), vector in zip(texts, vectors, strict=True):
        if isinstance(vector, DataApiError):
            outcomes[at] = vector.about(document.id_json) if document.id_json is not None else vector
        else:
            document.embedded(vector)


def _skipped(document: JsonValue) -> Skipped:
    try:
        return Skipped(prepared_id(document))
    except DataApiError:
        return Skipped(None)


def _already_exists(document: PreparedDocument) -> DataApiError:
    identifier = document.id_json or b"null"
    shown = identifier.decode()
    if shown.startswith('"'):
        shown = f"'{msgspec.json.decode(identifier)}'"
    return DataApiError("DOCUMENT_ALREADY_EXISTS", id=shown).about(identifier)


def _answer_with_ids(outcomes: Sequence[Outcome]) -> Answer:
    inserted = [outcome for outcome in outcomes if isinstance(outcome, PreparedDocument)]
    ids = [msgspec.Raw(document.id_json or b"null") for document in inserted]
    errors = [outcome for outcome in outcomes if isinstance(outcome, DataApiError)]
    return Answer(status={"insertedIds": ids}, errors=errors)


def _answer_with_responses(outcomes: Sequence[Outcome]) -> Answer:
    answer = Answer()
    responses: list[Encodable] = []
    for outcome in outcomes:
        response: dict[str, Encodable] = {}
        if isinstance(outcome, PreparedDocument):
            response = {"_id": msgspec.Raw(outcome.id_json or b"null"), "status": "OK"}
        elif isinstance(outcome, DataApiError):
            if outcome.document_ids:
                response["_id"] = msgspec.Raw(outcome.document_ids[0])
            response |= {"status": "ERROR", "errorsIdx": len(answer.errors)}
            answer.errors.append(outcome)
        else:
            response = {} if outcome.id_json is None else {"_id": msgspec.Raw(outcome.id_json)}
            response["status"] = "SKIPPED"
        responses.append(response)
    answer.status["documentResponses"] = responses
    return answer


COMMANDS = (
    Command("insertOne", Level.COLLECTION, Role.WRITE, ("document", "options"), insert_one),
    Command("insertMany", Level.COLLECTION, Role.WRITE, ("documents", "options"), insert_many),
)
