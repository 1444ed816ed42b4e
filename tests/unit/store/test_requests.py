"""Bounds on requests: what is over them is refused, an insert before it is parsed."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orrery.store.v1 import store_pb2 as pb

from services.runtime.errors import DataApiError
from services.store.requests import check, count_field
from services.store.settings import RequestSettings

SETTINGS = RequestSettings(
    documents=3, document_bytes=100, operations=2, page_documents=10, finds=4, vector_dimension=16
)


def document(size: int = 10) -> pb.Document:
    return pb.Document(json=b"x" * size)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (pb.InsertDocumentsRequest(documents=[document()] * 4), "3 documents"),
        (pb.InsertDocumentsRequest(documents=[document(101)]), "100 bytes of a document"),
        (pb.InsertDocumentsRequest(documents=[pb.Document(vector=pb.Vector(values=bytes(101)))]), "100 bytes"),
        (pb.ReplaceDocumentRequest(replacement=document(101)), "100 bytes"),
        (pb.UpdateDocumentsRequest(operations=[pb.UpdateOperation()] * 3), "2 operations"),
        (pb.UpdateDocumentsRequest(specials=[pb.SpecialAssignments()] * 3), "2 specials"),
        (pb.UpdateDocumentsRequest(limit=11), "10 limit"),
        (pb.UpdateDocumentsRequest(upsert=document(101)), "100 bytes"),
        (pb.DeleteDocumentsRequest(limit=11), "10 limit"),
        (pb.FindDocumentsRequest(limit=11), "10 limit"),
        (pb.FindDocumentsTogetherRequest(finds=[pb.FindDocumentsRequest(limit=11)]), "10 limit"),
        (pb.FindDocumentsTogetherRequest(finds=[pb.FindDocumentsRequest()] * 5), "4 finds"),
        (
            pb.CreateCollectionRequest(settings=pb.CollectionSettings(vector=pb.VectorSettings(dimension=17))),
            "16 dimension",
        ),
    ],
)
def test_what_is_over_a_limit_is_refused(request_: Any, says: str) -> None:
    with pytest.raises(DataApiError, match=says) as refused:
        check(request_, SETTINGS)
    assert refused.value.code == "REQUEST_LIMIT_EXCEEDED"


def test_what_is_at_the_limits_is_taken() -> None:
    check(pb.InsertDocumentsRequest(documents=[document(90)] * 3), SETTINGS)
    check(pb.FindDocumentsRequest(limit=10), SETTINGS)
    check(pb.ListKeyspacesRequest(), SETTINGS)


@given(st.integers(0, 30), st.integers(0, 40), st.booleans())
def test_documents_are_counted_in_the_bytes(count: int, most: int, ordered: bool) -> None:
    collection = pb.CollectionRef(database="d" * 200, name="n")
    request = pb.InsertDocumentsRequest(collection=collection, documents=[document(300)] * count, ordered=ordered)

    assert count_field(request.SerializeToString(), 2, most) == min(count, most + 1)


@given(st.binary(max_size=200))
def test_what_is_no_message_is_counted_to_its_end(data: bytes) -> None:
    assert count_field(data, 2, 10) <= 11


def test_millions_of_empty_documents_cost_nothing() -> None:
    data = pb.InsertDocumentsRequest(documents=[pb.Document()]).SerializeToString() * 10_000_000
    started = time.monotonic()
    assert count_field(data, 2, 1000) == 1001
    assert time.monotonic() - started < 1
