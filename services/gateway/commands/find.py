"""find and findOne."""

from dataclasses import dataclass

import msgspec
from orrery.store.v1 import store_pb2

from services.gateway.collection import Collection
from services.gateway.command import Command, Context, Level
from services.gateway.envelope import Answer, Encodable
from services.gateway.fields import Fields
from services.gateway.grammar.filter import parse_filter
from services.gateway.grammar.projection import parse_projection
from services.gateway.grammar.sort import FieldSort, LexicalSort, SortClause, VectorizeSort, VectorSort, parse_sort
from services.gateway.grammar.vector import vector_to_json
from services.gateway.page_state import PageState, seal, unseal
from services.gateway.rendering import render_document
from services.gateway.storage import reference
from services.runtime.errors import DataApiError
from services.runtime.roles import Role


@dataclass(frozen=True, slots=True)
class _Options:
    limit: int | None
    skip: int
    page_state: str | None
    include_similarity: bool
    include_sort_vector: bool


async def find(context: Context, fields: Fields) -> Answer:
    """Find documents: a page in storage order, or the first ones in the order asked for."""
    options = _read_options(context, fields)

    async def run(collection: Collection) -> Answer:
        clause = _sort(context, fields, collection)
        values = await sort_vector(context, collection, clause)
        page = None
        if options.page_state:
            if fields.get("sort"):
                raise DataApiError("SORT_CLAUSE_INVALID", problem="`pageState` cannot be used with a sort")
            page = unseal(options.page_state, collection.uid)
        remaining = page.remaining if page is not None else options.limit
        limit = _most_documents(context, clause, remaining)
        request = store_pb2.FindDocumentsRequest(
            collection=reference(collection),
            filter=parse_filter(fields.get("filter"), collection, context.limits),
            sort=sort_message(clause, values),
            projection=projection_of(fields),
            skip=options.skip if isinstance(clause, FieldSort) else 0,
            limit=limit,
            after=page.after if page is not None else 0,
        )
        response = await context.storage.finds.find(request)
        left = None if remaining is None else remaining - len(response.documents)
        more = response.HasField("next_after") and left != 0
        documents = [render_document(found, options.include_similarity) for found in response.documents]
        return Answer(
            data={
                "documents": documents,
                "nextPageState": seal(PageState(response.next_after, left), collection.uid) if more else None,
            },
            status=_sort_vector_status(options, values),
        )

    return await context.on_collection(run)


async def find_one(context: Context, fields: Fields) -> Answer:
    """Find one document."""
    given = fields.nested("options", ("includeSimilarity", "includeSortVector"))
    options = _Options(None, 0, None, given.boolean("includeSimilarity"), given.boolean("includeSortVector"))
    fields.finish()

    async def run(collection: Collection) -> Answer:
        clause = _sort(context, fields, collection)
        values = await sort_vector(context, collection, clause)
        request = store_pb2.FindDocumentsRequest(
            collection=reference(collection),
            filter=parse_filter(fields.get("filter"), collection, context.limits),
            sort=sort_message(clause, values),
            projection=projection_of(fields),
            limit=1,
        )
        response = await context.storage.finds.find(request)
        found = [render_document(document, options.include_similarity) for document in response.documents]
        return Answer(data={"document": found[0] if found else None}, status=_sort_vector_status(options, values))

    return await context.on_collection(run)


def _read_options(context: Context, fields: Fields) -> _Options:
    known = ("limit", "skip", "pageState", "pagingState", "includeSimilarity", "includeSortVector")
    given = fields.nested("options", known)
    limit, skip = given.integer("limit"), given.integer("skip")
    options = _Options(
        limit,
        skip or 0,
        given.string("pageState") or given.string("pagingState"),
        given.boolean("includeSimilarity"),
        given.boolean("includeSortVector"),
    )
    by_vector = isinstance(sort := fields.get("sort"), dict) and "$vector" in sort
    most = context.limits.vector_find_documents
    if limit is not None and limit <= 0:
        given.refuse("limit", limit, "it must be greater than 0")
    elif limit is not None and by_vector and limit > most:
        given.refuse("limit", limit, f"it must not be greater than {most} with a sort by `$vector`")
    if skip is not None and skip < 0:
        given.refuse("skip", skip, "it must not be negative")
    elif skip is not None and not fields.has("sort"):
        given.refuse("skip", skip, "it can only be used with a sort")
    elif skip is not None and by_vector:
        given.refuse("skip", skip, "it cannot be used with a sort by `$vector`")
    fields.finish()
    return options


def _most_documents(context: Context, clause: SortClause, remaining: int | None) -> int:
    by_vector = isinstance(clause, VectorSort | VectorizeSort)
    most = context.limits.vector_find_documents if by_vector else context.limits.find_page_documents
    return most if remaining is None else min(most, remaining)


def _sort(context: Context, fields: Fields, collection: Collection) -> SortClause:
    return parse_sort(fields.get("sort"), collection, context.limits)


async def sort_vector(context: Context, collection: Collection, clause: SortClause) -> bytes | None:
    """Return the vector of a sort, embedding its text where it has one; None for other sorts.

    The vector is little-endian float32 of the collection's dimension.
    """
    if isinstance(clause, VectorSort):
        return clause.values
    if isinstance(clause, VectorizeSort):
        return await context.embed(collection, clause.text, search=True)
    if isinstance(clause, LexicalSort):
        raise DataApiError(
            "LEXICAL_NOT_ENABLED_FOR_COLLECTION", keyspace=collection.keyspace, collection=collection.name
        )
    return None


def sort_message(clause: SortClause, values: bytes | None) -> store_pb2.Sort | None:
    """Return a sort as the store takes it; `values` is its vector, if it has one."""
    if values is not None:
        return store_pb2.Sort(vector=values)
    if isinstance(clause, FieldSort):
        return store_pb2.Sort(fields=clause.message)
    return None


def projection_of(fields: Fields) -> store_pb2.Projection:
    """Return the projection of a command."""
    return parse_projection(fields.get("projection"), fields.has("projection"))


def _sort_vector_status(options: _Options, values: bytes | None) -> dict[str, Encodable]:
    if not options.include_sort_vector:
        return {}
    return {"sortVector": None if values is None else msgspec.Raw(vector_to_json(values))}


COMMANDS = (
    Command("find", Level.COLLECTION, Role.READ, ("filter", "sort", "projection", "options"), find),
    Command("findOne", Level.COLLECTION, Role.READ, ("filter", "sort", "projection", "options"), find_one),
)
