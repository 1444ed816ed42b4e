"""findOneAndReplace: everything but the `_id` exchanged."""

from typing import Any

import pytest

from tests.contract.api import Api, error_code
from tests.contract.samples import START


def test_a_replacement_leaves_only_itself(one: Api) -> None:
    answer = one.run("findOneAndReplace", filter={"_id": 1}, replacement={"a": 1})

    assert answer == {"data": {"document": START}, "status": {"matchedCount": 1, "modifiedCount": 1}}
    assert one.stored() == {"_id": 1, "a": 1}


def test_the_same_replacement_changes_nothing(one: Api) -> None:
    answer = one.run("findOneAndReplace", filter={"_id": 1}, replacement=START, options={"returnDocument": "after"})

    assert answer == {"data": {"document": START}, "status": {"matchedCount": 1, "modifiedCount": 0}}


def test_a_replacement_cannot_change_the_id(one: Api) -> None:
    answer = one.run("findOneAndReplace", filter={"n": 5}, replacement={"_id": 2})

    assert error_code(answer) == "DOCUMENT_REPLACE_DIFFERENT_DOCID"
    assert one.stored() == START


@pytest.mark.parametrize(
    ("filter_", "replacement", "expected"),
    [
        ({"_id": 7}, {"a": 1}, {"_id": 7, "a": 1}),
        ({"b": 1}, {"_id": 8, "a": 1}, {"_id": 8, "a": 1}),
        ({"_id": 7}, {"_id": 7}, {"_id": 7}),
    ],
)
def test_a_replacement_upserts(
    documents: Api, filter_: dict[str, Any], replacement: dict[str, Any], expected: dict[str, Any]
) -> None:
    options = {"upsert": True, "returnDocument": "after"}
    answer = documents.run("findOneAndReplace", filter=filter_, replacement=replacement, options=options)

    assert answer["data"]["document"] == expected
    assert answer["status"] == {"matchedCount": 0, "modifiedCount": 0, "upsertedId": expected["_id"]}


def test_an_upserted_replacement_cannot_have_another_id_than_the_filter(documents: Api) -> None:
    answer = documents.run("findOneAndReplace", filter={"_id": 7}, replacement={"_id": 8}, options={"upsert": True})

    assert error_code(answer) == "DOCUMENT_REPLACE_DIFFERENT_DOCID"


@pytest.mark.parametrize(
    ("replacement", "code"),
    [
        (None, "COMMAND_FIELD_VALUE_INVALID"),
        ([], "REQUEST_STRUCTURE_MISMATCH"),
        ({"$bad": 1}, "SHRED_BAD_FIELD_NAME"),
        ({"$vector": [1], "$vectorize": "x"}, "INVALID_USAGE_OF_VECTORIZE"),
    ],
)
def test_bad_replacements_are_refused(one: Api, replacement: Any, code: str) -> None:
    assert error_code(one.run("findOneAndReplace", filter={"_id": 1}, replacement=replacement)) == code
    assert one.stored() == START


def test_the_first_of_a_sort_is_replaced(bodies: Api) -> None:
    answer = bodies.run(
        "findOneAndReplace",
        filter={"tags": "ice"},
        sort={"radius": 1},
        replacement={"name": "Vesta"},
        projection={"name": 1, "_id": 0},
        options={"returnDocument": "after"},
    )

    assert answer["data"]["document"] == {"name": "Vesta"}
    assert bodies.stored(1) == {"_id": 1, "name": "Vesta"}


@pytest.mark.parametrize(("image", "expected"), [("before", 5), ("after", None)])
def test_both_images(one: Api, image: str, expected: object) -> None:
    answer = one.run(
        "findOneAndReplace", filter={"_id": 1}, replacement={}, options={"returnDocument": image}, projection={"n": 1}
    )

    assert answer["data"]["document"].get("n") == expected


def test_nothing_is_replaced(documents: Api) -> None:
    answer = documents.run("findOneAndReplace", filter={"_id": 1}, replacement={"a": 1})

    assert answer == {"data": {"document": None}, "status": {"matchedCount": 0, "modifiedCount": 0}}


def test_a_replacement_without_a_vector_takes_it_away(vectors: Api) -> None:
    vectors.run("insertOne", document={"_id": 1, "$vector": [1, 0, 0]})

    vectors.run("findOneAndReplace", filter={"_id": 1}, replacement={"a": 1})
    assert vectors.found(sort={"$vector": [1, 0, 0]}) == []

    vectors.run("findOneAndReplace", filter={"_id": 1}, replacement={"$vector": [0, 1, 0]})
    assert vectors.found(sort={"$vector": [1, 0, 0]}) == [1]
