"""Streams of finds over gRPC: each call is answered as it is by itself, and the stream ends when the store stops."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from orrery.store.v1 import store_pb2 as pb
from orrery.store.v1 import store_pb2_grpc
from prometheus_client import generate_latest

from services.runtime.admission import Admission, Lane
from services.runtime.errors import DataApiError
from services.runtime.request_context import HEADER, REQUEST_ID
from services.runtime.rpc import error_from_call, status_to_error
from services.runtime.rpc_observation import CallObserver
from services.store import finds
from services.store.engine import Engine
from services.store.find_sessions import FindSessions
from services.store.service import StoreServicer

NAME = pb.CollectionRef(database="d", keyspace="k", name="c")
FIND = pb.FindDocumentsInTurnRequest(find=pb.FindDocumentsRequest(collection=NAME, limit=2))
MISSING = pb.FindDocumentsRequest(collection=pb.CollectionRef(database="d", keyspace="k", name="no"))


class Caller:
    """A stream: calls go in one by one, answers come out."""

    def __init__(self, stub: store_pb2_grpc.StoreServiceStub) -> None:
        self._calls: queue.SimpleQueue[pb.FindDocumentsInTurnRequest | None] = queue.SimpleQueue()
        self.stream: Any = stub.FindDocumentsInTurn(iter(self._calls.get, None), timeout=30)

    def send(self, call: pb.FindDocumentsInTurnRequest) -> None:
        self._calls.put(call)

    def ask(self, call: pb.FindDocumentsInTurnRequest) -> pb.FindDocumentsInTurnResponse:
        self.send(call)
        answer: pb.FindDocumentsInTurnResponse = next(self.stream)
        return answer

    def finish(self) -> None:
        self._calls.put(None)

    def ended(self) -> grpc.StatusCode:
        """Wait for the end of the stream and return how it ended."""
        with contextlib.suppress(grpc.RpcError):
            assert list(self.stream) == []
        code: grpc.StatusCode = self.stream.code()
        return code


class Store:
    """A store of two documents, with room for three streams."""

    def __init__(self, engine: Engine, address: str) -> None:
        self.engine = engine
        self.sessions = FindSessions(engine, CallObserver(engine.metrics.calls))
        lane = Lane("sessions", 3, 0)
        admission = Admission({"/orrery.store.v1.StoreService/FindDocumentsInTurn": lane}, self._refusal)
        self.server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=[admission])
        store_pb2_grpc.add_StoreServiceServicer_to_server(StoreServicer(engine, self.sessions), self.server)
        self.server.add_insecure_port(address)
        self.server.start()

    @staticmethod
    def _refusal(lane: Lane) -> DataApiError:
        return DataApiError("UNAVAILABLE_DATABASE", problem=f"{lane.most} {lane.name}", advice="wait")


@pytest.fixture
def store(engine: Engine, tmp_path: Path) -> Iterator[Store]:
    store = Store(engine, f"unix:{tmp_path}/s")
    yield store
    store.sessions.end()
    store.server.stop(1).wait()


@pytest.fixture
def stub(store: Store, tmp_path: Path) -> Iterator[store_pb2_grpc.StoreServiceStub]:
    with grpc.insecure_channel(f"unix:{tmp_path}/s") as channel:
        stub = store_pb2_grpc.StoreServiceStub(channel)
        stub.CreateCollection(pb.CreateCollectionRequest(database="d", keyspace="k", name="c"))
        documents = [pb.Document(json=b'{"_id":%d}' % number) for number in range(2)]
        stub.InsertDocuments(pb.InsertDocumentsRequest(collection=NAME, documents=documents))
        yield stub


def test_calls_are_answered_as_by_themselves(stub: store_pb2_grpc.StoreServiceStub) -> None:
    caller = Caller(stub)
    together = pb.FindDocumentsTogetherRequest(finds=[FIND.find, MISSING])

    assert caller.ask(FIND).found == stub.FindDocuments(FIND.find)
    asked = pb.FindDocumentsInTurnRequest(together=together)
    assert caller.ask(asked).together == stub.FindDocumentsTogether(together)
    caller.finish()
    assert caller.ended() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (MISSING, "UNKNOWN_COLLECTION_OR_TABLE"),
        (pb.FindDocumentsRequest(collection=NAME, limit=10**6), "REQUEST_LIMIT_EXCEEDED"),
    ],
)
def test_an_error_is_an_answer_and_the_stream_goes_on(
    stub: store_pb2_grpc.StoreServiceStub, call: pb.FindDocumentsRequest, code: str
) -> None:
    caller = Caller(stub)

    status = status_pb2.Status.FromString(caller.ask(pb.FindDocumentsInTurnRequest(find=call)).error)
    error = status_to_error(status)
    assert error is not None and error.code == code
    assert len(caller.ask(FIND).found.documents) == 2


def test_each_call_is_counted_by_its_own_name_and_worked_for_its_own_request(
    store: Store, stub: store_pb2_grpc.StoreServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    find = finds.find

    def watched(*arguments: Any) -> None:
        seen.append(REQUEST_ID.get())
        find(*arguments)

    monkeypatch.setattr(finds, "find", watched)
    caller = Caller(stub)
    for name in ("one", "two"):
        caller.ask(pb.FindDocumentsInTurnRequest(find=FIND.find, metadata={HEADER: name}))

    assert seen == ["one", "two"]
    counted = generate_latest(store.engine.metrics.registry).decode()
    assert 'orrery_store_rpcs_total{code="OK",method="FindDocuments"} 2.0' in counted


def test_a_stream_that_waits_for_a_call_ends_at_once_when_the_store_stops(
    store: Store, stub: store_pb2_grpc.StoreServiceStub
) -> None:
    used, unused = Caller(stub), Caller(stub)
    used.ask(FIND)

    store.sessions.end()

    # Where the store has only just sent an answer, or not yet taken the stream on, it ends by itself.
    assert {used.ended(), unused.ended()} <= {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED}
    assert Caller(stub).ended() is grpc.StatusCode.OK


def test_a_call_under_way_is_answered_before_its_stream_ends(
    store: Store, stub: store_pb2_grpc.StoreServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go, find = threading.Event(), threading.Event(), finds.find

    def slow(*arguments: Any) -> None:
        asked.set()
        go.wait(10)
        find(*arguments)

    monkeypatch.setattr(finds, "find", slow)
    caller = Caller(stub)
    caller.send(FIND)
    assert asked.wait(10)

    store.sessions.end()
    go.set()

    assert len(next(caller.stream).found.documents) == 2
    assert caller.ended() is grpc.StatusCode.OK


def test_a_stream_too_many_is_refused(stub: store_pb2_grpc.StoreServiceStub) -> None:
    callers = [Caller(stub) for _ in range(3)]
    for caller in callers:
        caller.ask(FIND)

    with pytest.raises(grpc.RpcError) as refused:
        Caller(stub).ask(FIND)

    error = error_from_call(refused.value)
    assert error is not None and error.code == "UNAVAILABLE_DATABASE"
    assert "3 sessions" in error.message


def test_a_caller_that_leaves_makes_room(stub: store_pb2_grpc.StoreServiceStub) -> None:
    for _ in range(10):
        caller = Caller(stub)
        caller.ask(FIND)
        caller.stream.cancel()
        caller.ended()
        # The thread of its stream has to notice.
        threading.Event().wait(0.05)
