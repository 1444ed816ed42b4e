"""Finds that come together are answered as each would be alone."""

import json
from typing import Any

import numpy as np
import pytest
from google.rpc import status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from orrery.store.v1 import store_pb2 as pb

from services.runtime.errors import DataApiError
from services.runtime.rpc import status_to_error
from services.store.engine import Engine
from services.store.finds import find, find_together, stream
from services.store.records import CollectionSettings, Record, StoredVector, VectorSettings
from services.store.vectors.similarity import Metric
from tests.unit.store.conftest import Make


def values(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


def request(collection: str = "c", **changes: Any) -> pb.FindDocumentsRequest:
    name = pb.CollectionRef(database="d", keyspace="k", name=collection)
    return pb.FindDocumentsRequest(collection=name, **{"limit": 3, **changes})


def near(*numbers: float) -> pb.Sort:
    return pb.Sort(vector=values(*numbers))


@pytest.fixture
def filled(engine: Engine, make: Make) -> Engine:
    """An engine with the collections `c` and `other` of 30 vectors, and `plain` without any."""
    for name, start in (("c", 0), ("other", 100)):
        records = [
            Record(json.dumps({"_id": at, "even": at % 2 == 0}).encode(), StoredVector(values(at % 7 - 3, at % 5 - 2)))
            for at in range(start, start + 30)
        ]
        make(CollectionSettings(VectorSettings(2, Metric.EUCLIDEAN)), name).insert(records, ordered=True)
    make(name="plain").insert([Record(b'{"_id":1}')], ordered=True)
    return engine


EVEN = pb.Filter(condition=pb.Condition(path=pb.Path(segments=["even"]), equals=pb.Value(boolean=True)))
NOT_EVEN = pb.Filter(negated=EVEN)
MALFORMED = pb.Filter(condition=pb.Condition())
FINDS = st.sampled_from(
    [
        request(sort=near(1, 1)),
        request(sort=near(-2, 0)),
        request(sort=near(-2, 0), limit=5),
        request(sort=near(-2, 0), filter=EVEN),
        request(sort=near(1, 0), filter=EVEN),
        request(sort=near(1, 0), filter=EVEN, skip=4, limit=2),
        request(sort=near(1, 0), skip=2),
        request(sort=near(1, 0), filter=NOT_EVEN, limit=20),
        request(sort=near(1, 0), filter=MALFORMED),
        request(sort=near(0, 1), projection=pb.Projection(include_vector=True)),
        request("other", sort=near(0, 1)),
        request(filter=EVEN, limit=2),
        request(sort=near(1, 2, 3)),
        request("plain", sort=near(1, 2)),
        request("missing", sort=near(1, 2)),
        request("plain"),
    ]
)


def told(engine: Engine, wanted: pb.FindDocumentsRequest) -> Any:
    """Return what a find is answered alone: its response, or the code of its error."""
    response = pb.FindDocumentsResponse()
    try:
        find(engine, wanted, response)
    except DataApiError as error:
        return error.code
    return response


def told_together(engine: Engine, wanted: list[pb.FindDocumentsRequest]) -> list[pb.FindOutcome]:
    response = pb.FindDocumentsTogetherResponse()
    find_together(engine, wanted, response)
    return list(response.outcomes)


def read(outcome: pb.FindOutcome) -> Any:
    if outcome.WhichOneof("outcome") == "found":
        return outcome.found
    error = status_to_error(status_pb2.Status.FromString(outcome.error))
    assert error is not None
    return error.code


def test_each_is_answered_as_it_would_be_alone(filled: Engine) -> None:
    @settings(max_examples=60, deadline=None)
    @given(wanted=st.lists(FINDS, max_size=12))
    def check(wanted: list[pb.FindDocumentsRequest]) -> None:
        outcomes = told_together(filled, wanted)
        assert [read(outcome) for outcome in outcomes] == [told(filled, item) for item in wanted]

    check()


def test_one_that_fails_does_not_keep_the_others_from_their_answers(filled: Engine) -> None:
    wanted = [request(sort=near(1, 1)), request(sort=near(1, 2, 3)), request(sort=near(0, 0))]
    outcomes = told_together(filled, wanted)

    assert [outcome.WhichOneof("outcome") for outcome in outcomes] == ["found", "error", "found"]
    assert read(outcomes[1]) == "INVALID_VECTOR_LENGTH"


@pytest.mark.parametrize("asked", [0, 1, 7, 30, 500])
def test_a_stream_has_all_that_match_in_order_page_by_page(filled: Engine, asked: int) -> None:
    name = pb.CollectionRef(database="d", keyspace="k", name="c")
    request = pb.StreamDocumentsRequest(collection=name, filter=EVEN, page_documents=asked)

    pages = list(stream(filled, request, most=20))

    found = [json.loads(item.document.json)["_id"] for page in pages for item in page.documents]
    assert found == list(range(0, 30, 2))
    assert max(len(page.documents) for page in pages) <= min(asked or 20, 20)
    assert [page.HasField("next_after") for page in pages] == [True] * (len(pages) - 1) + [False]


def test_a_stream_that_broke_goes_on_after_what_came(filled: Engine) -> None:
    name = pb.CollectionRef(database="d", keyspace="k", name="c")
    first = next(stream(filled, pb.StreamDocumentsRequest(collection=name, page_documents=10), most=20))

    rest = list(stream(filled, pb.StreamDocumentsRequest(collection=name, after=first.next_after), most=20))

    assert [json.loads(item.document.json)["_id"] for page in rest for item in page.documents] == list(range(10, 30))
