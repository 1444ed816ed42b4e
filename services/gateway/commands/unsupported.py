"""Commands that the Data API has and that no collection here answers: those of tables, and findAndRerank."""

from services.gateway.collection import Collection
from services.gateway.command import Command, Context, Handler, Level
from services.gateway.envelope import Answer
from services.gateway.fields import Fields
from services.runtime.errors import DataApiError
from services.runtime.roles import Role

_INDEX_MEMBERS = ("name", "definition", "options")
_TABLE_COMMANDS = {
    "alterTable": (Role.ADMIN, ("operation",)),
    "createIndex": (Role.ADMIN, _INDEX_MEMBERS),
    "createTextIndex": (Role.ADMIN, _INDEX_MEMBERS),
    "createVectorIndex": (Role.ADMIN, _INDEX_MEMBERS),
    "listIndexes": (Role.READ, ("options",)),
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
    *(
        Command(name, Level.COLLECTION, role, members, _only_for_tables(name))
        for name, (role, members) in _TABLE_COMMANDS.items()
    ),
    Command("findAndRerank", Level.COLLECTION, Role.READ, ("filter", "projection", "sort", "options"), find_and_rerank),
)
