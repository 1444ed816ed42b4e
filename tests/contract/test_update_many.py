"""updateMany: fifty at a time, with pages."""

import pytest

from tests.contract.api import Api, error_code


def test_an_upsert_without_an_id_generates_one(documents: Api) -> None:
    answer = documents.run("updateMany", filter={"a": 1}, update={"$set": {"b": 2}}, options={"upsert": True})

    identifier = answer["status"]["upsertedId"]
    assert documents.stored(identifier) == {"_id": identifier, "a": 1, "b": 2}


def test_update_many_goes_by_fifty(documents: Api) -> None:
    documents.run("insertMany", documents=[{"_id": n, "on": True} for n in range(55)])
    update = {"$set": {"on": False}}

    first = documents.run("updateMany", filter={"on": True}, update=update)["status"]
    assert (first["matchedCount"], first["modifiedCount"], first["moreData"]) == (50, 50, True)
    second = documents.run(
        "updateMany", filter={"on": True}, update=update, options={"pageState": first["nextPageState"]}
    )
    assert second == {"status": {"matchedCount": 5, "modifiedCount": 5}}
    assert documents.run("countDocuments", filter={"on": True})["status"]["count"] == 0


def test_update_many_takes_no_sort(one: Api) -> None:
    assert error_code(one.run("updateMany", sort={"a": 1}, update={})) == "COMMAND_FIELD_UNKNOWN"


def test_every_match_is_updated_and_those_that_change_are_counted(bodies: Api) -> None:
    answer = bodies.run("updateMany", filter={"tags": "ice"}, update={"$set": {"radius": 1560.8}})

    assert answer == {"status": {"matchedCount": 3, "modifiedCount": 2}}
    assert bodies.found(filter={"radius": 1560.8}) == [1, 2, 5]


def test_an_upsert_with_matches_upserts_nothing(bodies: Api) -> None:
    answer = bodies.run("updateMany", filter={"tags": "ice"}, update={"$set": {"a": 1}}, options={"upsert": True})

    assert answer == {"status": {"matchedCount": 3, "modifiedCount": 3}}
    assert bodies.count() == 5


def test_an_update_that_fails_on_a_document_keeps_those_before_it(bodies: Api) -> None:
    answer = bodies.run("updateMany", filter={}, update={"$inc": {"radius": 1}})

    assert answer.keys() == {"errors"}
    assert error_code(answer) == "UNSUPPORTED_UPDATE_OPERATION_TARGET"
    assert bodies.found(filter={"radius": {"$in": [470.7, 1561.8, 1822]}}) == [1, 2, 3]
    assert bodies.stored(5)["radius"] == "unknown"


@pytest.mark.parametrize("state", ["", "forged", "AAAA"])
def test_a_page_state_of_another_making_is_refused(bodies: Api, state: str) -> None:
    answer = bodies.run("updateMany", filter={}, update={"$set": {"a": 1}}, options={"pageState": state})

    if state:
        assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"
    else:
        assert answer["status"]["modifiedCount"] == 5
