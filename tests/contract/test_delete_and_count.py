"""deleteOne, deleteMany, findOneAndDelete, countDocuments and estimatedDocumentCount."""

import pytest

from tests.contract.api import Api, error_code


@pytest.fixture
def thirty(documents: Api) -> Api:
    """Thirty documents: `n` from 0 to 29, `even` or not."""
    documents.run("insertMany", documents=[{"_id": n, "n": n, "even": n % 2 == 0} for n in range(30)])
    return documents


def count(api: Api, **members: object) -> int:
    return int(api.run("countDocuments", **members)["status"]["count"])


def test_delete_one_deletes_one(thirty: Api) -> None:
    assert thirty.run("deleteOne", filter={"_id": 3}) == {"status": {"deletedCount": 1}}
    assert thirty.run("deleteOne", filter={"_id": 3}) == {"status": {"deletedCount": 0}}
    assert count(thirty) == 29


def test_delete_one_takes_the_first_of_a_sort(thirty: Api) -> None:
    thirty.run("deleteOne", filter={"even": True}, sort={"n": -1})

    assert thirty.run("findOne", filter={"_id": 28})["data"]["document"] is None


def test_delete_one_needs_a_filter_which_may_be_empty(thirty: Api) -> None:
    answer = thirty.run("deleteOne")

    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"
    assert "command.filterDefinition" in answer["errors"][0]["message"]
    assert thirty.run("deleteOne", filter={}) == {"status": {"deletedCount": 1}}


def test_delete_many_deletes_twenty_at_a_time(thirty: Api) -> None:
    matching = {"n": {"$lt": 25}}

    assert thirty.run("deleteMany", filter=matching) == {"status": {"deletedCount": 20, "moreData": True}}
    assert thirty.run("deleteMany", filter=matching) == {"status": {"deletedCount": 5}}
    assert count(thirty) == 5


@pytest.mark.parametrize("members", [{}, {"filter": {}}, {"filter": None}])
def test_delete_many_without_a_filter_empties_the_collection(thirty: Api, members: dict[str, object]) -> None:
    assert thirty.run("deleteMany", **members) == {"status": {"deletedCount": -1}}
    assert count(thirty) == 0


@pytest.mark.parametrize("accident", [{"$and": []}, {"f": {}}, {"$or": [{}]}])
def test_a_filter_that_comes_out_empty_deletes_nothing(thirty: Api, accident: dict[str, object]) -> None:
    assert error_code(thirty.run("deleteMany", filter=accident)) == "FILTER_INVALID_EXPRESSION"
    assert count(thirty) == 30


def test_find_one_and_delete_returns_the_document(thirty: Api) -> None:
    answer = thirty.run("findOneAndDelete", filter={"even": False}, sort={"n": -1}, projection={"n": 1})

    assert answer == {"data": {"document": {"_id": 29, "n": 29}}, "status": {"deletedCount": 1}}


def test_find_one_and_delete_finds_nothing(thirty: Api) -> None:
    answer = thirty.run("findOneAndDelete", filter={"_id": "none"})

    assert answer == {"data": {"document": None}, "status": {"deletedCount": 0}}


def test_find_one_and_delete_knows_no_options(thirty: Api) -> None:
    assert error_code(thirty.run("findOneAndDelete", options={})) == "COMMAND_FIELD_UNKNOWN"


@pytest.mark.parametrize("command", ["deleteMany", "countDocuments", "estimatedDocumentCount"])
def test_commands_without_options(thirty: Api, command: str) -> None:
    assert error_code(thirty.run(command, options={"a": 1})) == "COMMAND_ACCEPTS_NO_OPTIONS"


def test_counts(thirty: Api) -> None:
    assert count(thirty, filter={"even": True}) == 15
    assert thirty.run("estimatedDocumentCount") == {"status": {"count": 30}}
    assert error_code(thirty.run("estimatedDocumentCount", filter={})) == "COMMAND_FIELD_UNKNOWN"


def test_counting_stops_at_a_thousand(documents: Api) -> None:
    for start in range(0, 1000, 100):
        documents.run("insertMany", documents=[{"_id": start + n} for n in range(100)])
    assert documents.run("countDocuments") == {"status": {"count": 1000}}

    documents.run("insertOne", document={})
    assert documents.run("countDocuments") == {"status": {"count": 1000, "moreData": True}}
