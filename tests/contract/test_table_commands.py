"""Commands of tables: known, and refused on a collection."""

import pytest

from tests.contract.api import Api, error_code

COMMANDS = ["alterTable", "createIndex", "createTextIndex", "createVectorIndex", "listIndexes"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_collection_refuses_them_by_name(documents: Api, command: str) -> None:
    answer = documents.run(command)

    assert error_code(answer) == "UNSUPPORTED_COLLECTION_COMMAND"
    message = answer["errors"][0]["message"]
    for part in (command, "default_keyspace.documents", "[alterTable, createIndex,"):
        assert part in message


@pytest.mark.parametrize("command", COMMANDS)
def test_the_collection_is_looked_up_first(api: Api, command: str) -> None:
    api.collection = "nowhere"

    assert error_code(api.run(command)) == "UNKNOWN_COLLECTION_OR_TABLE"


def test_their_members_are_known(documents: Api) -> None:
    assert error_code(documents.run("alterTable", opeartion={})) == "COMMAND_FIELD_UNKNOWN"
    assert error_code(documents.run("alterTable", operation={})) == "UNSUPPORTED_COLLECTION_COMMAND"
