"""The envelope: what is absent, what never goes together, and the HTTP status."""

import json
import uuid
from decimal import Decimal
from typing import Any

import msgspec

from services.gateway.envelope import Answer, error_object
from services.runtime.errors import DataApiError

UNKNOWN = DataApiError("UNKNOWN_KEYSPACE", keyspace="k")
REFUSED = DataApiError("UNAUTHENTICATED_REQUEST")


def body(answer: Answer) -> Any:
    return json.loads(answer.encode())


def test_what_has_nothing_is_absent() -> None:
    assert body(Answer()) == {}
    assert body(Answer(status={"ok": 1})) == {"status": {"ok": 1}}
    assert body(Answer(data={"document": None})) == {"data": {"document": None}}


def test_data_never_goes_with_errors_and_status_may() -> None:
    answer = body(Answer(data={"document": None}, status={"insertedIds": []}, errors=[UNKNOWN]))

    assert answer.keys() == {"status", "errors"}


def test_warnings_are_in_the_status() -> None:
    warning = DataApiError("DEPRECATED_COMMAND", deprecatedCommand="a", replacementCommand="b")

    answer = body(Answer(errors=[UNKNOWN], warnings=[warning]))

    assert answer["status"]["warnings"][0]["errorCode"] == "DEPRECATED_COMMAND"


def test_the_first_status_other_than_200_decides() -> None:
    assert Answer(errors=[UNKNOWN]).http_status == 200
    assert Answer(errors=[UNKNOWN, REFUSED]).http_status == 401


def test_documents_go_out_as_they_are_and_decimals_as_numbers() -> None:
    encoded = Answer(data={"document": msgspec.Raw(b'{"n":1.50}')}, status={"count": Decimal("1E+2")}).encode()

    assert encoded == b'{"data":{"document":{"n":1.50}},"status":{"count":1E+2}}'


def test_an_error_names_the_documents_in_their_own_form() -> None:
    error = DataApiError("DOCUMENT_ALREADY_EXISTS", id="1").about(b'{"$uuid":"x"}', b"5")

    shown = json.loads(msgspec.json.encode(error_object(error)))

    assert shown["documentIds"] == [{"$uuid": "x"}, 5]


def test_every_occurrence_has_an_id_of_its_own() -> None:
    first, second = error_object(UNKNOWN), error_object(UNKNOWN)

    assert first["id"] != second["id"]
    assert uuid.UUID(str(first["id"])).version == 4
