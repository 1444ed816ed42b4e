"""findOneAndDelete: the document as it was."""

from tests.contract.api import Api, error_code


def test_find_one_and_delete_returns_the_document(thirty: Api) -> None:
    answer = thirty.run("findOneAndDelete", filter={"even": False}, sort={"n": -1}, projection={"n": 1})

    assert answer == {"data": {"document": {"_id": 29, "n": 29}}, "status": {"deletedCount": 1}}


def test_find_one_and_delete_finds_nothing(thirty: Api) -> None:
    answer = thirty.run("findOneAndDelete", filter={"_id": "none"})

    assert answer == {"data": {"document": None}, "status": {"deletedCount": 0}}


def test_find_one_and_delete_knows_no_options(thirty: Api) -> None:
    assert error_code(thirty.run("findOneAndDelete", options={})) == "COMMAND_FIELD_UNKNOWN"
