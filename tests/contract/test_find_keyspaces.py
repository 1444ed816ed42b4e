"""findKeyspaces and its deprecated name findNamespaces."""

import pytest

from tests.contract.api import Api, error_code


def test_the_default_keyspace_exists_from_the_start(api: Api) -> None:
    assert "default_keyspace" in api.at_database("findKeyspaces")["status"]["keyspaces"]


@pytest.mark.parametrize("command", ["findKeyspaces", "findNamespaces", "dropKeyspace"])
def test_options_are_refused_where_there_are_none(api: Api, command: str) -> None:
    members = {"name": "x"} if command == "dropKeyspace" else {}

    assert error_code(api.at_database(command, options={"a": 1}, **members)) == "COMMAND_ACCEPTS_NO_OPTIONS"
    for options in ({}, None):
        assert "errors" not in api.at_database(command, options=options, **members)
