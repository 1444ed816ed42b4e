"""What a service notes of every RPC that it answers: whose it is, how long it took and how it ended.

The interceptors stand inside those that turn errors into statuses, so that they see errors by their codes, and
inside the lane of a call, so that what they bind is bound where the call is answered.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog

from services.runtime.errors import DataApiError
from services.runtime.interception import AsyncInterceptor, Interceptor, with_behaviour
from services.runtime.line_rate import LineRate
from services.runtime.metrics import CallMetrics
from services.runtime.request_context import REQUEST_ID, received_ids
from services.runtime.rpc import unexpected_error
from services.runtime.traces import Attribute, received_trace, span

#: Methods of gRPC itself: health checks and reflection.
_OTHERS = "/grpc."

log = structlog.get_logger(__name__)

Metadata = Iterable[tuple[str, str | bytes]]
Describe = Callable[[Any], dict[str, Attribute | None]]


@dataclass(frozen=True, slots=True)
class CallObserver:
    """What is done with what is noted.

    RPCs of `slow_seconds` or more are logged, with what `describe` says of their request: names and counts, never
    content. 0 logs none. `slow_lines` bounds how many are.
    """

    metrics: CallMetrics
    slow_seconds: float = 0.0
    describe: Describe = lambda _: {}
    slow_lines: LineRate = field(default_factory=LineRate)

    @contextmanager
    def watching(self, method: str, request: Any, metadata: Metadata) -> Iterator[None]:
        """Bind the request's id, from the metadata, while an RPC is answered, and note how that ends.

        An exception that nobody foresaw is logged here, where the id is bound, and comes out as the error to answer.
        """
        REQUEST_ID.set(received_ids(metadata))
        code, started = "OK", time.perf_counter()
        name = method.rpartition("/")[2]
        try:
            with span(method[1:], "server", received_trace(metadata), rpc__system="grpc", rpc__method=name) as traced:
                if traced.wanted:
                    described = self.describe(request)
                    traced.set(**{f"orrery__{name}": value for name, value in described.items()})
                yield
        except DataApiError as error:
            code = error.code
            raise
        except Exception as problem:
            unforeseen = unexpected_error(method, problem)
            code = unforeseen.code
            raise unforeseen from problem
        except BaseException:
            code = "CANCELLED"
            raise
        finally:
            seconds = time.perf_counter() - started
            self.metrics.answered(name, code, seconds)
            if 0 < self.slow_seconds <= seconds:
                self._tell_slow(name, request, code, seconds)
            # Not by a token: a stream may end in another context than it began in.
            REQUEST_ID.set("")

    def _tell_slow(self, name: str, request: Any, code: str, seconds: float) -> None:
        more = self.slow_lines.take()
        if more is not None:
            said = self.describe(request)
            log.warning("slow rpc", method=name, code=code, milliseconds=round(seconds * 1000, 2), **said, **more)


class ObservingInterceptor(Interceptor):
    """Notes the calls of a threaded server."""

    def __init__(self, observer: CallObserver) -> None:
        self._observer = observer

    def around(self, method: str, handler: Any) -> Any:
        """Wrap the handler of a call with one request."""
        if handler.request_streaming or method.startswith(_OTHERS):
            return handler
        observer = self._observer
        if handler.response_streaming:
            if not inspect.isgeneratorfunction(handler.unary_stream):
                return handler

            def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
                with observer.watching(method, request, context.invocation_metadata() or ()):
                    yield from handler.unary_stream(request, context)

            return with_behaviour(handler, stream)

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            with observer.watching(method, request, context.invocation_metadata() or ()):
                return handler.unary_unary(request, context)

        return with_behaviour(handler, call)


class AsyncObservingInterceptor(AsyncInterceptor):
    """Notes the calls of an asyncio server."""

    def __init__(self, observer: CallObserver) -> None:
        self._observer = observer

    def around(self, method: str, handler: Any) -> Any:
        """Wrap the handler of a call with one request."""
        if handler.request_streaming or method.startswith(_OTHERS):
            return handler
        observer = self._observer
        if handler.response_streaming:
            if not inspect.isasyncgenfunction(handler.unary_stream):
                return handler

            async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
                with observer.watching(method, request, context.invocation_metadata() or ()):
                    async for response in handler.unary_stream(request, context):
                        yield response

            return with_behaviour(handler, stream)

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            with observer.watching(method, request, context.invocation_metadata() or ()):
                return await handler.unary_unary(request, context)

        return with_behaviour(handler, call)
