"""Errors on the wire: what RPC servers make of exceptions, and their callers of statuses.

An error crosses an RPC as a `google.rpc.Status` with one `google.rpc.ErrorInfo`: its reason is the catalogue's
code, its metadata the details, so that the far side raises the same `DataApiError`.
"""

from __future__ import annotations

import base64
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import grpc
import structlog
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from services.runtime.errors import DataApiError, catalogue
from services.runtime.interception import AsyncInterceptor, Interceptor, with_behaviour

DOMAIN = "orrery"
DOCUMENT_IDS = "documentIds"
STATUS_DETAILS_KEY = "grpc-status-details-bin"
#: How a server tells gRPC's own retries that there is no use in them.
NO_RETRY = ("grpc-retry-pushback-ms", b"-1")

log = structlog.get_logger(__name__)


# --- errors on the wire -----------------------------------------------------


def error_to_status(error: DataApiError) -> status_pb2.Status:
    """Return the status that carries an error."""
    metadata = dict(error.details)
    if error.document_ids:
        ids = (base64.b64encode(identifier).decode() for identifier in error.document_ids)
        metadata[DOCUMENT_IDS] = " ".join(ids)
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN, metadata=metadata))
    code = code_pb2.Code.Value(error.definition.grpc)
    return status_pb2.Status(code=code, message=error.message, details=[detail])


def status_to_error(status: status_pb2.Status) -> DataApiError | None:
    """Return the error that a status carries, or None when it carries none of this catalogue's."""
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN and info.reason in catalogue():
            details = dict(info.metadata)
            ids = tuple(base64.b64decode(text) for text in details.pop(DOCUMENT_IDS, "").split())
            return DataApiError(info.reason, document_ids=ids, **details)
    return None


def error_from_call(failure: grpc.RpcError) -> DataApiError | None:
    """Return the error that a failed call carries, or None when the failure is the connection's own."""
    trailing = cast("Any", failure).trailing_metadata() or ()
    for key, value in trailing:
        if key == STATUS_DETAILS_KEY:
            return status_to_error(status_pb2.Status.FromString(value))
    return None


def abort_arguments(error: DataApiError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Return what to abort a call with for an error: status, message and trailing metadata.

    An error of the catalogue is an answer: calls are made again by themselves (`channels.py`) only where none came.
    """
    code = getattr(grpc.StatusCode, error.definition.grpc)
    return code, error.message, ((STATUS_DETAILS_KEY, error_to_status(error).SerializeToString()), NO_RETRY)


def unexpected_error(method: str, problem: Exception) -> DataApiError:
    """Log what nobody foresaw, and return what the caller may know of it."""
    error = DataApiError("UNEXPECTED_SERVER_ERROR", errorClass=type(problem).__name__, where=method)
    log.error("unexpected error", method=method, exc_info=problem)
    return error


# --- interceptors of servers ----------------------------------------------------------------


class ErrorInterceptor(Interceptor):
    """Turns exceptions of a threaded server's handlers, unary ones and generators of answers, into statuses."""

    def around(self, method: str, handler: Any) -> Any:
        """Wrap the handler of a call with one request."""
        # Those that write by themselves, as the health check does, answer their own errors too.
        if handler.unary_stream is not None and inspect.isgeneratorfunction(handler.unary_stream):
            return with_behaviour(handler, _guarded_generator(method, handler.unary_stream))
        if handler.unary_unary is None:
            return handler

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                return handler.unary_unary(request, context)
            except DataApiError as error:
                code, message, trailing = abort_arguments(error)
            except Exception as problem:  # noqa: BLE001 - the last resort, logged and answered
                code, message, trailing = abort_arguments(unexpected_error(method, problem))
            context.set_trailing_metadata(trailing)
            return context.abort(code, message)

        return with_behaviour(handler, call)


def _guarded_generator(method: str, handler: Any) -> Any:
    def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from handler(request, context)
            return
        except DataApiError as error:
            code, message, trailing = abort_arguments(error)
        except Exception as problem:  # noqa: BLE001 - the last resort, logged and answered
            code, message, trailing = abort_arguments(unexpected_error(method, problem))
        context.set_trailing_metadata(trailing)
        context.abort(code, message)

    return stream


class AsyncErrorInterceptor(AsyncInterceptor):
    """Turns exceptions of an asyncio server's handlers, unary ones and those that stream answers, into statuses."""

    def around(self, method: str, handler: Any) -> Any:
        """Wrap the handler of a call with one request."""
        if handler.request_streaming:
            return handler
        if handler.response_streaming:
            # Those that write by themselves, as the health check does, answer their own errors too.
            if not inspect.isasyncgenfunction(handler.unary_stream):
                return handler
            return with_behaviour(handler, _guarded_stream(method, handler.unary_stream))

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                return await handler.unary_unary(request, context)
            except DataApiError as error:
                code, message, trailing = abort_arguments(error)
            except Exception as problem:  # noqa: BLE001 - the last resort, logged and answered
                code, message, trailing = abort_arguments(unexpected_error(method, problem))
            return await context.abort(code, message, trailing)

        return with_behaviour(handler, call)


def _guarded_stream(method: str, handler: Any) -> Any:
    async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        try:
            async for response in handler(request, context):
                yield response
            return
        except DataApiError as error:
            code, message, trailing = abort_arguments(error)
        except Exception as problem:  # noqa: BLE001 - the last resort, logged and answered
            code, message, trailing = abort_arguments(unexpected_error(method, problem))
        await context.abort(code, message, trailing)

    return stream
