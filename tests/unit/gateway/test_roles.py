"""Which role each command needs: the whole table, so that no command changes its role unseen."""

import pytest

from services.gateway.access import Caller, operator_token
from services.gateway.commands import COMMANDS
from services.runtime.errors import DataApiError
from services.runtime.roles import Role

NEEDED = {
    Role.READ: {
        "countDocuments",
        "estimatedDocumentCount",
        "find",
        "findAndRerank",
        "findCollections",
        "findEmbeddingProviders",
        "findKeyspaces",
        "findNamespaces",
        "findOne",
        "findRerankingProviders",
        "listIndexes",
    },
    Role.WRITE: {
        "deleteMany",
        "deleteOne",
        "findOneAndDelete",
        "findOneAndReplace",
        "findOneAndUpdate",
        "insertMany",
        "insertOne",
        "updateMany",
        "updateOne",
    },
    Role.ADMIN: {
        "alterTable",
        "createCollection",
        "createIndex",
        "createKeyspace",
        "createNamespace",
        "createTextIndex",
        "createVectorIndex",
        "deleteCollection",
        "dropKeyspace",
        "dropNamespace",
    },
}


def test_every_command_needs_a_role() -> None:
    assert {role: {name for name, command in COMMANDS.items() if command.role is role} for role in Role} == NEEDED


@pytest.mark.parametrize(
    ("role", "allowed"),
    [(Role.READ, {Role.READ}), (Role.WRITE, {Role.READ, Role.WRITE}), (Role.ADMIN, set(Role))],
)
def test_a_role_allows_what_those_before_it_do(role: Role, allowed: set[Role]) -> None:
    caller = Caller("id", "name", role, "d", "")

    for needed in Role:
        if needed in allowed:
            caller.check(needed, "find")
        else:
            with pytest.raises(DataApiError, match=f"has the role {role}; the command find needs the role {needed}"):
                caller.check(needed, "find")


def test_the_token_of_the_command_line_may_do_everything_everywhere() -> None:
    token = operator_token("bootstrap")

    assert (token.role, token.databases, token.expires) == (Role.ADMIN, None, None)
