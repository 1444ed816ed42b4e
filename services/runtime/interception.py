"""What interceptors of RPC servers share: each puts something around the behaviour that answers a method.

A behaviour is what gRPC calls the function that answers: it takes a request, or an iterator of requests, and a context.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc

Behaviour = Callable[..., Any]

_MAKERS: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class Interceptor(grpc.ServerInterceptor, ABC):
    """An interceptor of a threaded server."""

    @abstractmethod
    def around(self, method: str, handler: Any) -> Any:
        """Return the handler that answers `method`, named in full: `handler` as it is, or another one around it."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Let `around` have its say where there is a handler."""
        handler = cast("Any", continuation(handler_call_details))
        return None if handler is None else self.around(handler_call_details.method, handler)


class AsyncInterceptor(grpc.aio.ServerInterceptor, ABC):
    """An interceptor of an asyncio server."""

    @abstractmethod
    def around(self, method: str, handler: Any) -> Any:
        """Return the handler that answers `method`, named in full: `handler` as it is, or another one around it."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Let `around` have its say where there is a handler."""
        handler = cast("Any", await continuation(handler_call_details))
        return None if handler is None else self.around(handler_call_details.method, handler)


def behaviour_of(handler: Any) -> Behaviour:
    """Return what a handler answers with."""
    return cast(
        "Behaviour", handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )


def with_behaviour(handler: Any, behaviour: Behaviour, parse: Callable[[bytes], Any] | None = None) -> Any:
    """Return a handler of the same kind that answers with another behaviour, and reads requests by `parse` if given."""
    make = _MAKERS[handler.request_streaming, handler.response_streaming]
    return make(behaviour, parse or handler.request_deserializer, handler.response_serializer)
