"""The commands of the Data API, one module a family."""

from collections.abc import Mapping

from services.gateway.command import Command
from services.gateway.commands import (
    collections,
    count,
    create_collection,
    delete,
    find,
    insert,
    keyspaces,
    providers,
    replace,
    unsupported,
    update,
)

_FAMILIES = (
    keyspaces,
    providers,
    create_collection,
    collections,
    insert,
    find,
    count,
    update,
    replace,
    delete,
    unsupported,
)

#: Every command by name.
COMMANDS: Mapping[str, Command] = {command.name: command for family in _FAMILIES for command in family.COMMANDS}
