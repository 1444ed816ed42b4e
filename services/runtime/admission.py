"""How many calls a threaded server takes on: so many run, so many wait, and the others are refused at once.

Calls run in lanes, each with threads and a queue of its own, so that one kind of call cannot take the threads of
another. A call that is refused costs no thread of a lane and is not even parsed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

import grpc

from services.runtime.errors import DataApiError
from services.runtime.interception import Interceptor, behaviour_of, with_behaviour
from services.runtime.rpc import abort_arguments

#: Threads that tell callers that they are refused.
_REFUSING_THREADS = 2
#: Weight of one more call in the average time of a call.
_AVERAGING = 0.05
_LEAST_RETRY_SECONDS = 0.1


class Lane(futures.ThreadPoolExecutor):
    """Threads for one kind of call: `running` at a time, `waiting` for their turn."""

    def __init__(self, name: str, running: int, waiting: int) -> None:
        super().__init__(max_workers=running, thread_name_prefix=f"rpc-{name}")
        self.name = name
        self.running = running
        self.most = running + waiting
        #: Calls that were refused.
        self.refused = 0
        self._inside = 0
        self._average_seconds = 0.0
        self._counting = threading.Lock()

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        """Have a call run, after those that wait already."""
        with self._counting:
            self._inside += 1
        try:
            future = super().submit(self._timed, work, *args, **kwargs)
        except RuntimeError:  # it has been shut down
            self._left()
            raise
        future.add_done_callback(lambda _: self._left())
        return future

    @property
    def inside(self) -> int:
        """Calls that run or wait."""
        return self._inside

    @property
    def full(self) -> bool:
        """Whether one more call would be too many."""
        return self._inside >= self.most

    @property
    def retry_seconds(self) -> float:
        """When there is likely to be room: the time in which half of those inside are answered."""
        return max(_LEAST_RETRY_SECONDS, self._average_seconds * self._inside / self.running / 2)

    def _timed(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        started = time.monotonic()
        try:
            return work(*args, **kwargs)
        finally:
            seconds = time.monotonic() - started
            self._average_seconds += _AVERAGING * (seconds - self._average_seconds)

    def _left(self) -> None:
        with self._counting:
            self._inside -= 1


class Admission(Interceptor):
    """Sends each call to its lane, or refuses it. `lanes` tells the lane by the method's full name.

    Methods without a lane (health checks, reflection) run in the server's own pool and are never refused. A call
    whose deadline passed while it waited, or that was cancelled, is dropped.
    """

    def __init__(self, lanes: Mapping[str, Lane], refusal: Callable[[Lane], DataApiError]) -> None:
        self._lanes = lanes
        self._refusal = refusal
        self._refusing = futures.ThreadPoolExecutor(_REFUSING_THREADS, thread_name_prefix="rpc-refusing")

    def around(self, method: str, handler: Any) -> Any:
        """Choose where a call runs."""
        lane = self._lanes.get(method)
        if lane is None:
            return handler
        if lane.full:
            # Counted by the one thread that hands out calls.
            lane.refused += 1
            return self._refuse(lane, handler)
        answer = behaviour_of(handler)

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            remaining = context.time_remaining()
            if not context.is_active() or (remaining is not None and remaining <= 0):
                return context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed while the call waited")
            return answer(request, context)

        call.experimental_thread_pool = lane  # type: ignore[attr-defined]
        return with_behaviour(handler, call)

    def _refuse(self, lane: Lane, handler: Any) -> Any:
        def refuse(request: Any, context: grpc.ServicerContext) -> Any:
            code, message, trailing = abort_arguments(self._refusal(lane))
            context.set_trailing_metadata(trailing)
            return context.abort(code, message)

        refuse.experimental_thread_pool = self._refusing  # type: ignore[attr-defined]
        # The request is not looked at.
        return with_behaviour(handler, refuse, lambda _: True)
