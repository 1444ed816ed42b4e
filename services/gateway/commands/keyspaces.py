"""createKeyspace, findKeyspaces, dropKeyspace, and the same under their deprecated names."""

import re
from decimal import Decimal

from orrery.store.v1 import store_pb2

from services.gateway.command import Command, Context, Handler, Level
from services.gateway.envelope import Answer
from services.gateway.fields import Fields
from services.runtime.errors import DataApiError
from services.runtime.roles import Role

_NAME_CHARACTERS = 48
_NAME = re.compile(rf"[A-Za-z0-9_]{{1,{_NAME_CHARACTERS}}}")
_REPLICATION_CLASSES = ("SimpleStrategy", "NetworkTopologyStrategy")


def new_name(kind: str, value: str | None) -> str:
    """Return the name of something to be created. Raises `UNSUPPORTED_SCHEMA_NAME`."""
    if value is not None and _NAME.fullmatch(value):
        return value
    name = "null" if value is None else f"'{value}'"
    raise DataApiError("UNSUPPORTED_SCHEMA_NAME", kind=kind, name=name, maxLength=_NAME_CHARACTERS)


def existing_name(fields: Fields) -> str:
    """Return the name of something to be dropped; it must not be empty, and need not exist."""
    name = fields.string("name")
    if not name:
        fields.refuse("name", name, "it must not be empty")
        fields.finish()
    return name or ""


async def create_keyspace(context: Context, fields: Fields) -> Answer:
    """Create a keyspace; an existing one is left as it is."""
    name = fields.string("name")
    _check_replication(fields.nested("options", ("replication",)))
    fields.finish()
    request = store_pb2.CreateKeyspaceRequest(
        database=context.database, keyspace=new_name("Keyspace", name), existing_database=True
    )
    await context.storage.remote.call(context.storage.rpc.CreateKeyspace, request)
    return Answer(status={"ok": 1})


def _check_replication(options: Fields) -> None:
    """Check what has no meaning without replicas: the class is known, every other member an integer."""
    replication = options.object("replication")
    if replication is None:
        return
    if replication.get("class") not in _REPLICATION_CLASSES:
        allowed = " or ".join(_REPLICATION_CLASSES)
        options.refuse("replication.strategy", replication.get("class"), f"it must be {allowed}")
    for name, value in replication.items():
        if name != "class" and (isinstance(value, bool) or not isinstance(value, int | Decimal)):
            raise DataApiError("REQUEST_STRUCTURE_MISMATCH", problem=f"'{name}' of replication must be an integer")


def _find(key: str) -> Handler:
    async def find_keyspaces(context: Context, fields: Fields) -> Answer:
        fields.no_options()
        request = store_pb2.ListKeyspacesRequest(database=context.database)
        response = await context.storage.remote.call(context.storage.rpc.ListKeyspaces, request)
        return Answer(status={key: list(response.keyspaces)})

    return find_keyspaces


async def drop_keyspace(context: Context, fields: Fields) -> Answer:
    """Drop a keyspace with all its collections; a missing one is no error."""
    fields.no_options()
    request = store_pb2.DropKeyspaceRequest(database=context.database, keyspace=existing_name(fields))
    await context.storage.remote.call(context.storage.rpc.DropKeyspace, request)
    return Answer(status={"ok": 1})


COMMANDS = (
    Command("createKeyspace", Level.DATABASE, Role.ADMIN, ("name", "options"), create_keyspace),
    Command("findKeyspaces", Level.DATABASE, Role.READ, ("options",), _find("keyspaces")),
    Command("dropKeyspace", Level.DATABASE, Role.ADMIN, ("name", "options"), drop_keyspace),
    Command("createNamespace", Level.DATABASE, Role.ADMIN, ("name", "options"), create_keyspace, "createKeyspace"),
    Command("findNamespaces", Level.DATABASE, Role.READ, ("options",), _find("namespaces"), "findKeyspaces"),
    Command("dropNamespace", Level.DATABASE, Role.ADMIN, ("name", "options"), drop_keyspace, "dropKeyspace"),
)
