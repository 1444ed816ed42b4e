"""Finds over streams: one stream a call at a time, and calls by themselves where no stream answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest
from orrery.store.v1 import store_pb2 as pb
from orrery.store.v1 import store_pb2_grpc

from services.gateway.find_sessions import FindSessions
from services.gateway.remote import Remote, store_remote
from services.runtime.errors import DataApiError
from services.runtime.rpc import abort_arguments, error_to_status

#: A find with this limit fails, one with that takes long.
FAILS, SLOW = 13, 99
UNKNOWN = DataApiError("UNKNOWN_KEYSPACE", keyspace="nowhere")


class Store(store_pb2_grpc.StoreServiceServicer):
    """Answers a find with its limit as the next position. `refuses` streams, or `hangs_up` after some answers."""

    def __init__(self) -> None:
        self.streams = self.in_turn = self.alone = 0
        self.refuses = False
        self.hangs_up: int | None = None
        self.ids: list[str] = []
        self.asked = asyncio.Event()

    async def FindDocuments(  # noqa: N802 - the contract's name
        self, request: pb.FindDocumentsRequest, context: Any
    ) -> pb.FindDocumentsResponse:
        self.alone += 1
        return pb.FindDocumentsResponse(next_after=request.limit)

    async def FindDocumentsTogether(  # noqa: N802
        self, request: pb.FindDocumentsTogetherRequest, context: Any
    ) -> pb.FindDocumentsTogetherResponse:
        self.alone += 1
        return self._together(request)

    async def FindDocumentsInTurn(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.FindDocumentsInTurnRequest], context: Any
    ) -> AsyncIterator[pb.FindDocumentsInTurnResponse]:
        self.streams += 1
        if self.refuses:
            await context.abort(*abort_arguments(DataApiError("UNAVAILABLE_DATABASE", problem="full", advice="wait")))
        answered = 0
        async for call in request_iterator:
            if answered == self.hangs_up:
                return
            answered += 1
            self.in_turn += 1
            self.asked.set()
            self.ids.append(call.metadata["x-request-id"])
            if call.WhichOneof("call") == "together":
                yield pb.FindDocumentsInTurnResponse(together=self._together(call.together))
            elif call.find.limit == FAILS:
                yield pb.FindDocumentsInTurnResponse(error=error_to_status(UNKNOWN).SerializeToString())
            else:
                if call.find.limit == SLOW:
                    await asyncio.sleep(10)
                yield pb.FindDocumentsInTurnResponse(found=pb.FindDocumentsResponse(next_after=call.find.limit))

    @staticmethod
    def _together(request: pb.FindDocumentsTogetherRequest) -> pb.FindDocumentsTogetherResponse:
        found = [pb.FindDocumentsResponse(next_after=find.limit) for find in request.finds]
        return pb.FindDocumentsTogetherResponse(outcomes=[pb.FindOutcome(found=each) for each in found])


Scenario = Callable[[Store, FindSessions], Coroutine[Any, Any, None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Scenario], Store]:
    """Run a scenario with a server, and return it."""

    async def main(scenario: Scenario) -> Store:
        store, server = Store(), grpc.aio.server()
        store_pb2_grpc.add_StoreServiceServicer_to_server(store, server)
        server.add_insecure_port(f"unix:{tmp_path}/s")
        await server.start()
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
            await scenario(store, FindSessions(store_pb2_grpc.StoreServiceStub(channel)))
        await server.stop(None)
        return store

    return lambda scenario: asyncio.run(main(scenario))


async def find(sessions: FindSessions, limit: int, seconds: float = 5) -> int:
    """Return what a find of the gateway is answered."""
    remote: Remote = store_remote(seconds)
    response: pb.FindDocumentsResponse = await remote.call(sessions.FindDocuments, pb.FindDocumentsRequest(limit=limit))
    return response.next_after


Run = Callable[[Scenario], Store]


def test_calls_one_after_the_other_share_a_stream(run: Run) -> None:
    async def scenario(store: Store, sessions: FindSessions) -> None:
        assert [await find(sessions, limit) for limit in (1, 2, 3)] == [1, 2, 3]
        several = pb.FindDocumentsTogetherRequest(finds=[pb.FindDocumentsRequest(limit=limit) for limit in (4, 5)])
        response = await store_remote(5).call(sessions.FindDocumentsTogether, several)
        assert [outcome.found.next_after for outcome in response.outcomes] == [4, 5]

    store = run(scenario)
    assert (store.streams, store.in_turn, store.alone) == (1, 4, 0)


def test_calls_at_a_time_have_a_stream_each(run: Run) -> None:
    async def scenario(store: Store, sessions: FindSessions) -> None:
        for _ in range(3):
            assert await asyncio.gather(*(find(sessions, limit) for limit in (1, 2))) == [1, 2]

    store = run(scenario)
    assert (store.streams, store.in_turn) == (2, 6)


def test_a_call_carries_what_would_be_its_metadata(run: Run) -> None:
    async def scenario(store: Store, sessions: FindSessions) -> None:
        metadata = (("x-request-id", "mine"),)
        await sessions.FindDocuments(pb.FindDocumentsRequest(), timeout=5, wait_for_ready=True, metadata=metadata)

    assert run(scenario).ids == ["mine"]


def test_an_error_is_raised_as_that_of_a_call_by_itself_and_the_stream_goes_on(run: Run) -> None:
    async def scenario(store: Store, sessions: FindSessions) -> None:
        with pytest.raises(DataApiError, match="nowhere") as raised:
            await find(sessions, FAILS)
        assert raised.value.code == "UNKNOWN_KEYSPACE"
        assert await find(sessions, 1) == 1

    store = run(scenario)
    assert (store.streams, store.alone) == (1, 0)


@pytest.mark.parametrize("answers", [0, 1, 2])
def test_a_call_whose_stream_ends_is_made_by_itself(run: Run, answers: int) -> None:
    async def scenario(store: Store, sessions: FindSessions) -> None:
        store.hangs_up = answers
        assert [await find(sessions, limit) for limit in (1, 2, 3)] == [1, 2, 3]

    store = run(scenario)
    assert store.in_turn + store.alone == 3
    assert store.alone >= 1


def test_after_a_refused_stream_none_is_opened_for_a_while(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.find_sessions._PAUSE_SECONDS", 0.3)

    async def scenario(store: Store, sessions: FindSessions) -> None:
        store.refuses = True
        assert [await find(sessions, limit) for limit in (1, 2, 3)] == [1, 2, 3]
        assert (store.streams, store.alone) == (1, 3)
        store.refuses = False
        await asyncio.sleep(0.3)
        assert await find(sessions, 4) == 4

    store = run(scenario)
    assert (store.streams, store.in_turn, store.alone) == (2, 1, 3)


def test_an_answer_that_takes_too_long_is_a_timeout_and_the_next_call_has_another_stream(run: Run) -> None:
    async def scenario(store: Store, sessions: FindSessions) -> None:
        with pytest.raises(DataApiError) as raised:
            await find(sessions, SLOW, seconds=0.2)
        assert raised.value.code == "TIMEOUT_READING_DATA"
        assert await find(sessions, 1) == 1

    store = run(scenario)
    assert (store.streams, store.alone) == (2, 0)


def test_a_caller_that_gives_up_takes_its_stream_along(run: Run) -> None:
    async def scenario(store: Store, sessions: FindSessions) -> None:
        call = asyncio.create_task(find(sessions, SLOW))
        await store.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await find(sessions, 1) == 1

    store = run(scenario)
    assert (store.streams, store.alone) == (2, 0)


def test_an_old_stream_is_left_for_a_new_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.find_sessions._SESSION_SECONDS", 0.0)

    async def scenario(store: Store, sessions: FindSessions) -> None:
        assert [await find(sessions, limit) for limit in (1, 2, 3)] == [1, 2, 3]

    assert run(scenario).streams == 3
