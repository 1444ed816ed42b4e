"""deleteOne: one document, the first of a sort."""

from tests.contract.api import Api, error_code


def test_delete_one_deletes_one(thirty: Api) -> None:
    assert thirty.run("deleteOne", filter={"_id": 3}) == {"status": {"deletedCount": 1}}
    assert thirty.run("deleteOne", filter={"_id": 3}) == {"status": {"deletedCount": 0}}
    assert thirty.count() == 29


def test_delete_one_takes_the_first_of_a_sort(thirty: Api) -> None:
    thirty.run("deleteOne", filter={"even": True}, sort={"n": -1})

    assert thirty.run("findOne", filter={"_id": 28})["data"]["document"] is None


def test_delete_one_needs_a_filter_which_may_be_empty(thirty: Api) -> None:
    answer = thirty.run("deleteOne")

    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"
    assert "command.filterDefinition" in answer["errors"][0]["message"]
    assert thirty.run("deleteOne", filter={}) == {"status": {"deletedCount": 1}}


def test_delete_one_takes_the_nearest_of_a_vector(vectors: Api) -> None:
    vectors.run("insertMany", documents=[{"_id": n, "$vector": [1, n, 0]} for n in range(3)])

    assert vectors.run("deleteOne", filter={}, sort={"$vector": [0, 1, 0]}) == {"status": {"deletedCount": 1}}
    assert vectors.found() == [0, 1]
    assert vectors.found(sort={"$vector": [0, 1, 0]}) == [1, 0]


def test_delete_one_takes_no_options(thirty: Api) -> None:
    assert error_code(thirty.run("deleteOne", filter={}, options={"a": 1})) == "COMMAND_ACCEPTS_NO_OPTIONS"
    assert thirty.run("deleteOne", filter={}, options={}) == {"status": {"deletedCount": 1}}
