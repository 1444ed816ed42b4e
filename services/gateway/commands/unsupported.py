"""Commands that the Data API has and that no collection here answers: those of tables, and findAndRerank."""

from services.gateway.collection import Collection
from services.gateway.command import Command, Context, Handler, Level
from services.gateway.envelope import Answer
from services.gateway.fields import Fields
from services.runtime.errors import DataApiError

_INDEX_MEMBERS = ("name", "definition", "options")
_TABLE_COMMANDS = {
    "alterTable": ("operation",),
    "createIndex": _INDEX_MEMBERS,
    "createTextIndex": _INDEX_MEMBERS,
    "createVectorIndex": _INDEX_MEMBERS,
    "listIndexes": ("options",),
}


def _only_for_tables(name: str) -> Handler:
    async def refuse(context: Context, fields: Fields) -> Answer:
        async def run(collection: Collection) -> Answer:
            raise DataApiError(
                "UNSUPPORTED_COLLECTION_COMMAND",
                command=name,
                keyspace=collection.keyspace,
                collection=collection.name,
                tableCommands=", ".join(sorted(_TABLE_COMMANDS)),
            )

        return await context.on_collection(run)

    return refuse


async def find_and_rerank(context: Context, fields: Fields) -> Answer:
    """Refuse: no reranking provider is built in, as where the reference has the feature switched off."""

    async def run(collection: Collection) -> Answer:
        raise DataApiError("RERANKING_FEATURE_NOT_ENABLED")

    return await context.on_collection(run)


COMMANDS = (
    *(Command(name, Level.COLLECTION, members, _only_for_tables(name)) for name, members in _TABLE_COMMANDS.items()),
    Command("findAndRerank", Level.COLLECTION, ("filter", "projection", "sort", "options"), find_and_rerank),
)
