"""findOneAndUpdate: an update with an image of the document."""

from typing import Any

import pytest

from tests.contract.api import Api, error_code


@pytest.mark.parametrize(("image", "n"), [(None, 5), ("before", 5), ("after", 6)])
def test_find_one_and_update_returns_an_image(one: Api, image: str | None, n: int) -> None:
    options = {} if image is None else {"returnDocument": image}
    answer = one.run(
        "findOneAndUpdate", filter={"_id": 1}, update={"$inc": {"n": 1}}, projection={"n": 1}, options=options
    )

    assert answer == {"data": {"document": {"_id": 1, "n": n}}, "status": {"matchedCount": 1, "modifiedCount": 1}}


@pytest.mark.parametrize(("image", "document"), [("before", None), ("after", {"_id": 9, "n": 1})])
def test_find_one_and_update_upserts(documents: Api, image: str, document: object) -> None:
    answer = documents.run(
        "findOneAndUpdate",
        filter={"_id": 9},
        update={"$inc": {"n": 1}},
        options={"upsert": True, "returnDocument": image},
    )

    assert answer == {
        "data": {"document": document},
        "status": {"matchedCount": 0, "modifiedCount": 0, "upsertedId": 9},
    }


def test_a_bad_image_is_refused(one: Api) -> None:
    answer = one.run("findOneAndUpdate", update={}, options={"returnDocument": "AFTER"})

    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"
    assert "command.options.returnDocument" in answer["errors"][0]["message"]


def test_find_one_and_update_takes_the_first_of_a_sort(bodies: Api) -> None:
    answer = bodies.run(
        "findOneAndUpdate",
        filter={"tags": "ice"},
        sort={"radius": 1},
        update={"$set": {"seen": True}},
        projection={"seen": 1, "name": 1},
        options={"returnDocument": "after"},
    )

    assert answer["data"]["document"] == {"_id": 1, "name": "Ceres", "seen": True}


def test_find_one_and_update_takes_the_nearest_of_a_vector(vectors: Api) -> None:
    vectors.run("insertMany", documents=[{"_id": n, "$vector": [1, n, 0]} for n in range(3)])

    answer = vectors.run("findOneAndUpdate", sort={"$vector": [0, 1, 0]}, update={"$set": {"hit": 1}})

    assert answer == {"data": {"document": {"_id": 2}}, "status": {"matchedCount": 1, "modifiedCount": 1}}


def test_find_one_and_update_finds_nothing(documents: Api) -> None:
    answer = documents.run("findOneAndUpdate", filter={"_id": 1}, update={"$set": {"a": 1}})

    assert answer == {"data": {"document": None}, "status": {"matchedCount": 0, "modifiedCount": 0}}


@pytest.mark.parametrize(
    ("command", "change"), [("findOneAndUpdate", {"update": {}}), ("findOneAndReplace", {"replacement": {}})]
)
def test_an_empty_image_is_neither_before_nor_after(documents: Api, command: str, change: dict[str, Any]) -> None:
    answer = documents.run(command, **change, options={"returnDocument": ""})
    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"

    assert documents.run(command, **change, options={"returnDocument": None})["data"] == {"document": None}
