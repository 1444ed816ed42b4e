"""dropKeyspace and its deprecated name dropNamespace."""

import pytest

from tests.contract.api import Api, error_code


def test_a_dropped_keyspace_is_gone_with_its_collections(api: Api) -> None:
    api.at_database("createKeyspace", name="gone")
    api.keyspace = "gone"
    api.at_keyspace("createCollection", name="c")

    assert api.at_database("dropKeyspace", name="gone") == {"status": {"ok": 1}}

    assert "gone" not in api.at_database("findKeyspaces")["status"]["keyspaces"]
    assert error_code(api.at_keyspace("findCollections")) == "UNKNOWN_KEYSPACE"
    api.at_database("createKeyspace", name="gone")
    assert api.at_keyspace("findCollections") == {"status": {"collections": []}}
    api.at_database("dropKeyspace", name="gone")


def test_dropping_what_is_not_there_is_fine(api: Api) -> None:
    assert api.at_database("dropKeyspace", name="never_was") == {"status": {"ok": 1}}


@pytest.mark.parametrize("members", [{}, {"name": None}, {"name": ""}])
def test_dropping_nothing_is_refused(api: Api, members: dict[str, object]) -> None:
    answer = api.at_database("dropKeyspace", **members)

    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"
    assert "'command.name'" in answer["errors"][0]["message"]
