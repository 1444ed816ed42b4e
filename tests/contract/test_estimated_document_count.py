"""estimatedDocumentCount: all documents, without a filter."""

import pytest

from tests.contract.api import Api, error_code


@pytest.mark.parametrize("members", [{}, {"options": {}}, {"options": None}])
def test_every_document_counts(thirty: Api, members: dict[str, object]) -> None:
    assert thirty.run("estimatedDocumentCount", **members) == {"status": {"count": 30}}


def test_it_takes_no_filter(thirty: Api) -> None:
    assert error_code(thirty.run("estimatedDocumentCount", filter={})) == "COMMAND_FIELD_UNKNOWN"


def test_it_follows_the_writes(thirty: Api) -> None:
    thirty.run("deleteMany", filter={"n": {"$lt": 5}})
    thirty.run("insertOne", document={})

    assert thirty.run("estimatedDocumentCount") == {"status": {"count": 26}}


def test_it_takes_no_options(thirty: Api) -> None:
    assert error_code(thirty.run("estimatedDocumentCount", options={"a": 1})) == "COMMAND_ACCEPTS_NO_OPTIONS"
