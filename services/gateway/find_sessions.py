"""Finds over streams to the store: one that is open costs half of a call of its own."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.rpc import status_pb2
from orrery.store.v1 import store_pb2 as pb

from services.runtime.rpc import STATUS_DETAILS_KEY

#: How old a stream gets, in seconds: the next one has the connection and the certificates that there are then.
_SESSION_SECONDS = 60.0
#: How long no stream is opened after one that never answered: the store may be older, or have enough of them.
_PAUSE_SECONDS = 1.0


class SessionEndedError(Exception):
    """A stream ended before a call was answered."""


class FindSessions:
    """`FindDocuments` and `FindDocumentsTogether` of the store's stub, over streams. For one event loop.

    Each stream has one call under way, so there are as many as there are calls at a time. A call whose stream ends is
    made by itself, which finds bear, for they change nothing: so a store may stop, or have no streams to give.
    """

    def __init__(self, rpc: Any) -> None:
        self._rpc = rpc
        self._idle: list[_Session] = []
        self._not_before = 0.0

    async def FindDocuments(  # noqa: N802 - the contract's name
        self, request: pb.FindDocumentsRequest, **options: Any
    ) -> pb.FindDocumentsResponse:
        """Answer one find. Takes the options of a call of its own, and raises `grpc.aio.AioRpcError` as that does."""
        answered = await self._ask(pb.FindDocumentsInTurnRequest(find=request), options)
        if answered is not None:
            return answered.found
        found: pb.FindDocumentsResponse = await self._rpc.FindDocuments(request, **options)
        return found

    async def FindDocumentsTogether(  # noqa: N802
        self, request: pb.FindDocumentsTogetherRequest, **options: Any
    ) -> pb.FindDocumentsTogetherResponse:
        """Answer several finds, in the same way."""
        answered = await self._ask(pb.FindDocumentsInTurnRequest(together=request), options)
        if answered is not None:
            return answered.together
        found: pb.FindDocumentsTogetherResponse = await self._rpc.FindDocumentsTogether(request, **options)
        return found

    async def _ask(
        self, call: pb.FindDocumentsInTurnRequest, options: Mapping[str, Any]
    ) -> pb.FindDocumentsInTurnResponse | None:
        """Return the answer, or None where no stream gives one."""
        session = self._take()
        if session is None:
            return None
        call.metadata.update(options["metadata"])
        try:
            async with asyncio.timeout(options["timeout"]):
                response = await session.ask(call)
        except TimeoutError:
            raise _failure(grpc.StatusCode.DEADLINE_EXCEEDED, "") from None
        except SessionEndedError:
            if not session.has_answered:
                self._not_before = time.monotonic() + _PAUSE_SECONDS
            return None
        self._idle.append(session)
        if response.WhichOneof("outcome") == "error":
            status = status_pb2.Status.FromString(response.error)
            raise _failure(_CODES[status.code], status.message, (STATUS_DETAILS_KEY, response.error))
        return response

    def _take(self) -> "_Session | None":
        now = time.monotonic()
        while self._idle:
            session = self._idle.pop()
            if session.usable(now):
                return session
            session.close()
        return _Session(self._rpc.FindDocumentsInTurn, now) if now >= self._not_before else None


class _Session:
    """One stream. It is of no more use after an exception."""

    def __init__(self, open_stream: Callable[[], Any], now: float) -> None:
        self._stream = open_stream()
        self._opened = now
        self.has_answered = False

    def usable(self, now: float) -> bool:
        return now - self._opened < _SESSION_SECONDS and not self._stream.done()

    def close(self) -> None:
        self._stream.cancel()

    async def ask(self, call: pb.FindDocumentsInTurnRequest) -> pb.FindDocumentsInTurnResponse:
        """Return the answer to a call. Raises `SessionEndedError`."""
        try:
            await self._stream.write(call)
            response = await self._stream.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as failure:
            raise SessionEndedError from failure
        except asyncio.CancelledError:
            # gRPC raises it for a stream that the store cancels, too.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise SessionEndedError from None
        if response is grpc.aio.EOF:
            raise SessionEndedError
        self.has_answered = True
        answer: pb.FindDocumentsInTurnResponse = response
        return answer


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _failure(code: grpc.StatusCode, message: str, *trailing: tuple[str, bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), message)
