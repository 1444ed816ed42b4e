"""insertMany: ordered and unordered, partial failures, responses."""

from typing import Any

import pytest

from tests.contract.api import Api, error_code


def test_ids_of_other_types_are_other_documents(documents: Api) -> None:
    answer = documents.run("insertMany", documents=[{"_id": "5"}, {"_id": 5}, {"_id": True}, {"_id": None}])

    assert answer == {"status": {"insertedIds": ["5", 5, True, None]}}


@pytest.mark.parametrize("members", [{}, {"documents": None}, {"documents": []}, {"documents": [{}] * 101}])
def test_insert_many_takes_1_to_100_documents(documents: Api, members: dict[str, Any]) -> None:
    answer = documents.run("insertMany", **members)

    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"
    assert "'command.documents'" in answer["errors"][0]["message"]
    assert documents.run("countDocuments")["status"]["count"] == 0


def test_unordered_tries_every_document(documents: Api) -> None:
    ids = [4, 4, 5, 4, 5, 4]
    answer = documents.run("insertMany", documents=[{"_id": identifier} for identifier in ids])

    assert answer["status"] == {"insertedIds": [4, 5]}
    assert [error["errorCode"] for error in answer["errors"]] == ["DOCUMENT_ALREADY_EXISTS"] * 4
    assert [error["documentIds"] for error in answer["errors"]] == [[4], [4], [5], [4]]


def test_ordered_stops_at_the_first_failure(documents: Api) -> None:
    answer = documents.run(
        "insertMany",
        documents=[{"_id": 1}, {"_id": 2, "$bad": 1}, {"_id": 3}],
        options={"ordered": True, "returnDocumentResponses": True},
    )

    assert answer["status"] == {
        "documentResponses": [
            {"_id": 1, "status": "OK"},
            {"_id": 2, "status": "ERROR", "errorsIdx": 0},
            {"_id": 3, "status": "SKIPPED"},
        ]
    }
    assert error_code(answer) == "SHRED_BAD_FIELD_NAME"
    assert documents.run("countDocuments")["status"]["count"] == 1


def test_responses_leave_out_an_id_that_could_not_be_told(documents: Api) -> None:
    answer = documents.run(
        "insertMany", documents=[{"_id": []}, 5, {"_id": 1}], options={"returnDocumentResponses": True}
    )

    assert answer["status"]["documentResponses"] == [
        {"status": "ERROR", "errorsIdx": 0},
        {"status": "ERROR", "errorsIdx": 1},
        {"_id": 1, "status": "OK"},
    ]
    assert [error["errorCode"] for error in answer["errors"]] == [
        "SHRED_BAD_DOCID_TYPE",
        "SHRED_BAD_DOCUMENT_TYPE",
    ]


@pytest.mark.parametrize("ordered", [True, False])
def test_all_go_in_and_are_answered_in_their_order(documents: Api, ordered: bool) -> None:
    ids = list(range(99, -1, -1))

    answer = documents.run("insertMany", documents=[{"_id": n} for n in ids], options={"ordered": ordered})

    assert answer == {"status": {"insertedIds": ids}}
    assert documents.found() == ids[:50]


def test_responses_of_an_unordered_insert(documents: Api) -> None:
    answer = documents.run(
        "insertMany",
        documents=[{"_id": 1}, {"_id": 1}, {"_id": 2}],
        options={"ordered": False, "returnDocumentResponses": True},
    )

    assert answer["status"] == {
        "documentResponses": [
            {"_id": 1, "status": "OK"},
            {"_id": 1, "status": "ERROR", "errorsIdx": 0},
            {"_id": 2, "status": "OK"},
        ]
    }
    assert error_code(answer) == "DOCUMENT_ALREADY_EXISTS"


def test_unknown_options_are_refused(documents: Api) -> None:
    assert error_code(documents.run("insertMany", documents=[{}], options={"x": 1})) == "COMMAND_FIELD_UNKNOWN"


@pytest.mark.parametrize("ordered", [1, "True", " TRUE "])
def test_booleans_are_taken_from_what_stands_for_them(one: Api, ordered: Any) -> None:
    answer = one.run("insertMany", documents=[{"_id": 1}, {"_id": 9}], options={"ordered": ordered})

    assert answer["status"] == {"insertedIds": []}
    assert error_code(answer) == "DOCUMENT_ALREADY_EXISTS"
