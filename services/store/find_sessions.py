"""Streams of finds: a caller's calls answered one after the other, each as it is when it is made by itself."""

import threading
from collections.abc import Iterator

import grpc
from orrery.store.v1 import store_pb2 as pb

from services.runtime.errors import DataApiError
from services.runtime.rpc import error_to_status
from services.runtime.rpc_observation import CallObserver
from services.store import finds
from services.store.engine import Engine
from services.store.requests import check

_SERVICE = pb.DESCRIPTOR.services_by_name["StoreService"].full_name
_FIND, _TOGETHER = f"/{_SERVICE}/FindDocuments", f"/{_SERVICE}/FindDocumentsTogether"


class FindSessions:
    """The streams of finds that are open. Each call is observed under the name that it has by itself."""

    def __init__(self, engine: Engine, observer: CallObserver) -> None:
        self._engine = engine
        self._observer = observer
        self._lock = threading.Lock()
        #: The streams, and whether a call of theirs is being answered.
        self._busy: dict[grpc.ServicerContext, bool] = {}
        self._ending = False

    def answer(
        self, calls: Iterator[pb.FindDocumentsInTurnRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.FindDocumentsInTurnResponse]:
        """Yield the answer to each call, until its caller has no more or `end` is called."""
        try:
            if not self._mark(context, busy=False):
                return
            for call in calls:
                if not self._mark(context, busy=True):
                    return
                yield self._answer(call)
                if not self._mark(context, busy=False):
                    return
        except grpc.RpcError:  # the caller has gone, or `end` has cancelled the stream
            return
        finally:
            with self._lock:
                self._busy.pop(context, None)

    def end(self) -> None:
        """End all streams: those that wait for a call at once, the others with the answer that is under way."""
        with self._lock:
            self._ending = True
            idle = [context for context, busy in self._busy.items() if not busy]
        for context in idle:
            context.cancel()

    def _mark(self, context: grpc.ServicerContext, *, busy: bool) -> bool:
        """Note whether a stream is busy, and tell whether it may go on."""
        with self._lock:
            if self._ending:
                return False
            self._busy[context] = busy
            return True

    def _answer(self, call: pb.FindDocumentsInTurnRequest) -> pb.FindDocumentsInTurnResponse:
        alone = call.WhichOneof("call") == "find"
        method, request = (_FIND, call.find) if alone else (_TOGETHER, call.together)
        response = pb.FindDocumentsInTurnResponse()
        try:
            with self._observer.watching(method, request, call.metadata.items()):
                check(request, self._engine.settings.requests)
                if alone:
                    finds.find(self._engine, call.find, response.found)
                else:
                    finds.find_together(self._engine, call.together.finds, response.together)
        except DataApiError as error:
            response.error = error_to_status(error).SerializeToString()
        return response
