"""Reads and inserts: what was found by replaying the reference's own tests, and beside them."""

from typing import Any

import pytest

from tests.contract.api import Api, error_code


@pytest.fixture
def numbers(documents: Api) -> Api:
    """Three documents that differ in `_id` and `n`."""
    documents.run("insertMany", documents=[{"_id": number, "n": number} for number in range(3)])
    return documents


@pytest.mark.parametrize(
    "members",
    [
        {"sort": {"n": 1}, "options": {"skip": 5_000_000_000}},
        {"sort": {"n": 1}, "options": {"skip": str(10**30)}},
        {"options": {"limit": 1 << 31}},
        {"options": {"limit": "1_0"}},
        {"options": {"limit": 0, "includeSimilarity": "maybe"}},
    ],
)
def test_options_that_are_no_integers_of_32_bits_or_no_booleans(numbers: Api, members: dict[str, Any]) -> None:
    assert error_code(numbers.run("find", **members)) == "REQUEST_STRUCTURE_MISMATCH"


@pytest.mark.parametrize("limit", [2147483647, "", " 3 ", "null", 3.9])
def test_limits_that_stand_for_integers_or_for_none(numbers: Api, limit: Any) -> None:
    assert len(numbers.run("find", options={"limit": limit})["data"]["documents"]) == 3


@pytest.mark.parametrize("ordered", [1, "True", " TRUE "])
def test_booleans_are_taken_from_what_stands_for_them(numbers: Api, ordered: Any) -> None:
    answer = numbers.run("insertMany", documents=[{"_id": 1}, {"_id": 9}], options={"ordered": ordered})

    assert answer["status"] == {"insertedIds": []}
    assert error_code(answer) == "DOCUMENT_ALREADY_EXISTS"


def test_an_id_may_stand_in_a_not_below_an_or(numbers: Api) -> None:
    answer = numbers.run("find", filter={"$or": [{"$not": {"_id": 1}}, {"n": 7}]}, sort={"_id": 1})

    assert [document["_id"] for document in answer["data"]["documents"]] == [0, 2]


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"filter": {"$lexical": "words"}}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"filter": {"$lexical": {"$exists": True}}}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"filter": {"$lexical": {"$match": 5}}}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"sort": {"$lexical": 5}}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"sort": {"n": 1, "$lexical": "words"}}, "LEXICAL_NOT_ENABLED_FOR_COLLECTION"),
        ({"sort": {"n": 2, "": 1}}, "SORT_CLAUSE_PATH_INVALID"),
    ],
)
@pytest.mark.parametrize("command", ["find", "findOne"])
def test_the_check_that_comes_first_answers(numbers: Api, command: str, members: dict[str, Any], code: str) -> None:
    assert error_code(numbers.run(command, **members)) == code
