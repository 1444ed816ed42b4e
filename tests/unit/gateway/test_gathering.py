"""Finds that arrive while others are under way share a call, and each has its own answer."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from orrery.store.v1 import store_pb2 as pb

from services.gateway.gathering import FindGathering
from services.gateway.remote import store_remote
from services.runtime.errors import DataApiError
from services.runtime.rpc import error_to_status


class Store:
    """Answers finds with their own limit as the next position, once it is let go; a limit of 13 fails."""

    def __init__(self) -> None:
        self.alone: list[int] = []
        self.together: list[list[int]] = []
        self.go, self.asked_together = asyncio.Event(), asyncio.Event()

    async def FindDocuments(self, request: pb.FindDocumentsRequest, **_: Any) -> pb.FindDocumentsResponse:  # noqa: N802
        self.alone.append(request.limit)
        await self.go.wait()
        return pb.FindDocumentsResponse(next_after=request.limit)

    async def FindDocumentsTogether(  # noqa: N802
        self, request: pb.FindDocumentsTogetherRequest, **_: Any
    ) -> pb.FindDocumentsTogetherResponse:
        self.together.append([find.limit for find in request.finds])
        self.asked_together.set()
        await self.go.wait()
        return pb.FindDocumentsTogetherResponse(outcomes=map(self._outcome, request.finds))

    def _outcome(self, find: pb.FindDocumentsRequest) -> pb.FindOutcome:
        if find.limit == 13:
            return pb.FindOutcome(error=error_to_status(DataApiError("UNAUTHENTICATED_REQUEST")).SerializeToString())
        return pb.FindOutcome(found=pb.FindDocumentsResponse(next_after=find.limit))


def run(scenario: Callable[[Store, FindGathering], Coroutine[Any, Any, None]]) -> Store:
    async def main() -> Store:
        store = Store()
        await scenario(store, FindGathering(store, store_remote(5)))
        return store

    return asyncio.run(main())


def finds(gathering: FindGathering, *limits: int) -> Awaitable[list[Any]]:
    calls = [gathering.find(pb.FindDocumentsRequest(limit=limit)) for limit in limits]
    return asyncio.gather(*calls, return_exceptions=True)


def test_an_idle_store_is_asked_at_once() -> None:
    async def scenario(store: Store, gathering: FindGathering) -> None:
        store.go.set()
        for limit in (1, 2, 3):
            assert [response.next_after for response in await finds(gathering, limit)] == [limit]

    store = run(scenario)
    assert (store.alone, store.together) == ([1, 2, 3], [])


def test_what_arrives_while_it_is_busy_is_asked_together() -> None:
    async def scenario(store: Store, gathering: FindGathering) -> None:
        asyncio.get_running_loop().call_later(0.002, store.go.set)
        responses = await finds(gathering, *range(1, 9))
        assert [response.next_after for response in responses] == list(range(1, 9))

    store = run(scenario)
    assert store.alone == [1, 2]
    assert store.together == [[3, 4, 5, 6, 7, 8]]


def test_a_slow_find_does_not_hold_up_others() -> None:
    async def scenario(store: Store, gathering: FindGathering) -> None:
        waiting = asyncio.ensure_future(finds(gathering, 1, 2, 3))
        await store.asked_together.wait()
        store.go.set()
        await waiting

    assert run(scenario).together == [[3]]


def test_so_many_and_no_more_go_in_one_call() -> None:
    async def scenario(store: Store, gathering: FindGathering) -> None:
        asyncio.get_running_loop().call_later(0.002, store.go.set)
        await finds(gathering, *range(100, 170))

    assert max(map(len, run(scenario).together)) == 32


def test_an_error_is_that_finds_own() -> None:
    async def scenario(store: Store, gathering: FindGathering) -> None:
        asyncio.get_running_loop().call_later(0.002, store.go.set)
        *_, found, error = await finds(gathering, 1, 2, 3, 13)
        assert found.next_after == 3
        assert error.code == "UNAUTHENTICATED_REQUEST"

    run(scenario)


def test_when_the_call_fails_all_of_them_fail_and_the_next_ones_go_on() -> None:
    async def scenario(store: Store, gathering: FindGathering) -> None:
        async def broken(*_: Any, **__: Any) -> None:
            raise DataApiError("UNAUTHENTICATED_REQUEST")

        answers, store.FindDocumentsTogether = store.FindDocumentsTogether, broken  # type: ignore[method-assign,assignment]
        asyncio.get_running_loop().call_later(0.002, store.go.set)
        responses = await finds(gathering, 1, 2, 3, 4)
        assert [getattr(response, "code", None) for response in responses] == [None, None] + [
            "UNAUTHENTICATED_REQUEST"
        ] * 2
        store.FindDocumentsTogether = answers  # type: ignore[method-assign]
        assert [response.next_after for response in await finds(gathering, 5)] == [5]

    run(scenario)


@pytest.mark.parametrize("cancelled", [0, 2])
def test_a_caller_that_gave_up_does_not_disturb_the_others(cancelled: int) -> None:
    async def scenario(store: Store, gathering: FindGathering) -> None:
        calls = [asyncio.ensure_future(gathering.find(pb.FindDocumentsRequest(limit=limit))) for limit in (1, 2, 3, 4)]
        await asyncio.sleep(0)
        calls[cancelled].cancel()
        store.go.set()
        responses = await asyncio.gather(*calls, return_exceptions=True)
        kept = [response for at, response in enumerate(responses) if at != cancelled]
        assert [response.next_after for response in kept if not isinstance(response, BaseException)] == [
            limit for limit in (1, 2, 3, 4) if limit != cancelled + 1
        ]

    run(scenario)
