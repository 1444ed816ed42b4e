"""Finds that arrive while others are under way go to the store together: a call costs the same whatever it carries."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from google.rpc import status_pb2
from orrery.store.v1 import store_pb2

from services.gateway.observation import Call, current
from services.gateway.remote import Remote
from services.runtime.errors import DataApiError
from services.runtime.rpc import status_to_error
from services.runtime.traces import Origin, origin, shared_context

#: Calls under way, at most: while the store answers one, the next is gathered, and both have something to do.
_UNDER_WAY = 2
#: A find waits to be gathered as long as calls take lately, within these seconds: one that takes longer does not hold
#: up others, and where all take long, more go together.
_LEAST_WAIT, _LONGEST_WAIT = 0.004, 0.05
#: Weight of one more call in the usual time of a call.
_AVERAGING = 0.1
#: Finds of one call, at most.
_MOST = 32


@dataclass(slots=True)
class _Waiting:
    request: store_pb2.FindDocumentsRequest
    response: "asyncio.Future[store_pb2.FindDocumentsResponse]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    origin: Origin = field(default_factory=origin)


class FindGathering:
    """Sends finds to the store: alone while it is idle, together while it is busy. For one event loop.

    A second call is begun once as many finds wait as the first one carries, so that neither is small for long.
    """

    def __init__(self, rpc: Any, remote: Remote) -> None:
        self._rpc = rpc
        self._remote = remote
        self._under_way = 0
        # The finds that the calls under way carry.
        self._carried = 0
        self._usual_seconds = 0.0
        self._waiting: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def find(self, request: store_pb2.FindDocumentsRequest) -> store_pb2.FindDocumentsResponse:
        """Return what the store found. Raises `DataApiError`: the store's own, or that it is not there or too slow."""
        if not self._waiting and self._may_call(1):
            return await self._alone(request)
        mine = _Waiting(request)
        self._waiting.append(mine)
        if len(self._waiting) >= _MOST or self._may_call(len(self._waiting)):
            self._send()
        elif self._timer is None:
            wait = min(max(self._usual_seconds, _LEAST_WAIT), _LONGEST_WAIT)
            self._timer = asyncio.get_running_loop().call_later(wait, self._send)
        return await self._noted(mine.response)

    async def _noted(
        self, response: "asyncio.Future[store_pb2.FindDocumentsResponse]"
    ) -> store_pb2.FindDocumentsResponse:
        """Wait for what the store found, and note it as a call of this request's own."""
        code, started = "OK", time.perf_counter()
        try:
            return await response
        except DataApiError as error:
            code = error.code
            raise
        finally:
            current().calls.append(Call(self._remote.name, "FindDocuments", code, time.perf_counter() - started))

    def _may_call(self, finds: int) -> bool:
        return self._under_way < _UNDER_WAY and finds >= self._carried

    async def _alone(self, request: store_pb2.FindDocumentsRequest) -> store_pb2.FindDocumentsResponse:
        begun = self._begin(1)
        try:
            response: store_pb2.FindDocumentsResponse = await self._remote.call(self._rpc.FindDocuments, request)
            return response
        finally:
            self._end(1, begun)

    def _send(self) -> None:
        """Send what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting, []
        if batch:
            # It belongs to all of these requests, not to the one whose task happens to send it.
            context = shared_context([waiting.origin for waiting in batch])
            call = asyncio.create_task(self._together(batch, self._begin(len(batch))), context=context)
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _together(self, batch: list[_Waiting], begun: float) -> None:
        request = store_pb2.FindDocumentsTogetherRequest(finds=[waiting.request for waiting in batch])
        try:
            response = await self._remote.call(self._rpc.FindDocumentsTogether, request)
        except BaseException as problem:
            for waiting in batch:
                if not waiting.response.done():
                    waiting.response.set_exception(problem)
            if not isinstance(problem, DataApiError):
                raise
            return
        finally:
            self._end(len(batch), begun)
        for waiting, outcome in zip(batch, response.outcomes, strict=True):
            if waiting.response.done():
                continue
            if outcome.WhichOneof("outcome") == "found":
                waiting.response.set_result(outcome.found)
            else:
                error = status_to_error(status_pb2.Status.FromString(outcome.error))
                unknown = self._remote.unavailable("it answered with an error that is unknown here")
                waiting.response.set_exception(error or unknown)

    def _begin(self, finds: int) -> float:
        """Count a call that carries some finds as under way, and return when it began."""
        self._under_way += 1
        self._carried += finds
        return time.monotonic()

    def _end(self, finds: int, begun: float) -> None:
        self._under_way -= 1
        self._carried -= finds
        self._usual_seconds += _AVERAGING * (time.monotonic() - begun - self._usual_seconds)
        if self._waiting and self._may_call(len(self._waiting)):
            self._send()
