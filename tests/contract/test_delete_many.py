"""deleteMany: twenty at a time, or all at once."""

import pytest

from tests.contract.api import Api, error_code


def test_delete_many_deletes_twenty_at_a_time(thirty: Api) -> None:
    matching = {"n": {"$lt": 25}}

    assert thirty.run("deleteMany", filter=matching) == {"status": {"deletedCount": 20, "moreData": True}}
    assert thirty.run("deleteMany", filter=matching) == {"status": {"deletedCount": 5}}
    assert thirty.count() == 5


@pytest.mark.parametrize("members", [{}, {"filter": {}}, {"filter": None}])
def test_delete_many_without_a_filter_empties_the_collection(thirty: Api, members: dict[str, object]) -> None:
    assert thirty.run("deleteMany", **members) == {"status": {"deletedCount": -1}}
    assert thirty.count() == 0


@pytest.mark.parametrize("accident", [{"$and": []}, {"f": {}}, {"$or": [{}]}])
def test_a_filter_that_comes_out_empty_deletes_nothing(thirty: Api, accident: dict[str, object]) -> None:
    assert error_code(thirty.run("deleteMany", filter=accident)) == "FILTER_INVALID_EXPRESSION"
    assert thirty.count() == 30


@pytest.mark.parametrize("command", ["deleteMany", "countDocuments", "estimatedDocumentCount"])
def test_commands_without_options(thirty: Api, command: str) -> None:
    assert error_code(thirty.run(command, options={"a": 1})) == "COMMAND_ACCEPTS_NO_OPTIONS"
