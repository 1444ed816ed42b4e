"""Errors on the wire, and servers and channels with health checks, reflection and one way to fail.

An error crosses an RPC as a `google.rpc.Status` with one `google.rpc.ErrorInfo`: its reason is the catalogue's
code, its metadata the details, so that the far side raises the same `DataApiError`.
"""

from __future__ import annotations

import base64
import inspect
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, cast

import grpc
import structlog
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.runtime.addresses import is_loopback
from services.runtime.errors import DataApiError, catalogue

DOMAIN = "orrery"
DOCUMENT_IDS = "documentIds"
STATUS_DETAILS_KEY = "grpc-status-details-bin"
#: A request body may hold 20 MB of JSON, whose vectors may grow when they become float32.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_METADATA_BYTES = 256 * 1024
#: A service that was started again is to be found at once, not after gRPC's own back-off of up to two minutes.
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # An error's message travels in trailing metadata three times over, percent-encoded and in Base64.
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
)

#: Threads of a threaded server for health checks and reflection.
_OTHER_THREADS = 4

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
    """Return what to abort a call with for an error: status, message and trailing metadata."""
    code = getattr(grpc.StatusCode, error.definition.grpc)
    return code, error.message, ((STATUS_DETAILS_KEY, error_to_status(error).SerializeToString()),)


def unexpected_error(method: str, problem: Exception) -> DataApiError:
    """Log what nobody foresaw, and return what the caller may know of it."""
    error = DataApiError("UNEXPECTED_SERVER_ERROR", errorClass=type(problem).__name__, where=method)
    log.error("unexpected error", method=method, exc_info=problem)
    return error


# --- servers ----------------------------------------------------------------


class ErrorInterceptor(grpc.ServerInterceptor):
    """Turns exceptions of a threaded server's handlers, unary ones and generators of answers, into statuses."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of a call with one request."""
        handler = cast("Any", continuation(handler_call_details))
        if handler is None:
            return handler
        method = handler_call_details.method
        # Those that write by themselves, as the health check does, answer their own errors too.
        if handler.unary_stream is not None and inspect.isgeneratorfunction(handler.unary_stream):
            return grpc.unary_stream_rpc_method_handler(
                _guarded_generator(method, handler.unary_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
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

        return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)


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


class AsyncErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns exceptions of an asyncio server's handlers, unary ones and those that stream answers, into statuses."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of a call with one request."""
        handler = cast("Any", await continuation(handler_call_details))
        method = handler_call_details.method
        if handler is None or handler.request_streaming:
            return handler
        if handler.response_streaming:
            # Those that write by themselves, as the health check does, answer their own errors too.
            if not inspect.isasyncgenfunction(handler.unary_stream):
                return handler
            return grpc.unary_stream_rpc_method_handler(
                _guarded_stream(method, handler.unary_stream), handler.request_deserializer, handler.response_serializer
            )

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                return await handler.unary_unary(request, context)
            except DataApiError as error:
                code, message, trailing = abort_arguments(error)
            except Exception as problem:  # noqa: BLE001 - the last resort, logged and answered
                code, message, trailing = abort_arguments(unexpected_error(method, problem))
            return await context.abort(code, message, trailing)

        return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)


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


def check_listen_address(address: str) -> None:
    """Refuse an address that would offer RPCs to the network without authentication.

    Raises `ValueError` for anything but `unix:PATH` and loopback addresses: RPCs have no authentication of
    their own, so only processes that may open the socket's file, or run on this machine, may call them.
    """
    if not address.startswith("unix:") and not is_loopback(address):
        raise ValueError(
            f"cannot listen on {address!r}: RPCs carry no authentication, so only unix:PATH and loopback "
            "addresses such as 127.0.0.1:8182 are allowed"
        )


def _prepare_socket(address: str) -> None:
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = path.parent.stat()
        if owner.st_uid != os.geteuid() or owner.st_mode & 0o022:
            raise ValueError(f"cannot listen in {path.parent}: it belongs to, or can be written by, other users")
        path.unlink(missing_ok=True)


def _names(service_names: tuple[str, ...]) -> tuple[str, ...]:
    return (*service_names, health.SERVICE_NAME, reflection.SERVICE_NAME)


def serve_threaded(
    address: str,
    register: Callable[[grpc.Server], None],
    service_names: tuple[str, ...],
    *,
    on_stop: Callable[[], None],
    interceptors: Sequence[grpc.ServerInterceptor],
    grace_seconds: float = 10.0,
) -> None:
    """Serve RPCs on threads until SIGTERM or SIGINT, then drain and call `on_stop`.

    `interceptors` come first come first, one that answers errors among them. What they give no pool of its own
    runs on a few threads.

    Raises `ValueError` for an address that is open to the network, `RuntimeError` when it cannot be bound.
    """
    check_listen_address(address)
    _prepare_socket(address)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=_OTHER_THREADS, thread_name_prefix="rpc"),
        interceptors=list(interceptors),
        options=CHANNEL_OPTIONS,
    )
    register(server)
    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection(_names(service_names), server)
    server.add_insecure_port(address)
    server.start()
    for name in ("", *service_names):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    log.info("serving", address=address)
    stop.wait()
    checks.enter_graceful_shutdown()
    server.stop(grace_seconds).wait()
    on_stop()
    log.info("stopped")


async def serve_async(
    address: str,
    register: Callable[[grpc.aio.Server], None],
    service_names: tuple[str, ...],
    *,
    stop: Awaitable[object],
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    grace_seconds: float = 10.0,
) -> None:
    """Serve RPCs on the running event loop until `stop` is done, then drain.

    `interceptors` stand inside the one that answers errors.

    Raises `ValueError` for an address that is open to the network, `RuntimeError` when it cannot be bound.
    """
    check_listen_address(address)
    _prepare_socket(address)
    server = grpc.aio.server(interceptors=[AsyncErrorInterceptor(), *interceptors], options=CHANNEL_OPTIONS)
    register(server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection(_names(service_names), server)
    server.add_insecure_port(address)
    await server.start()
    for name in ("", *service_names):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    log.info("serving", address=address)
    await stop
    await checks.enter_graceful_shutdown()
    await server.stop(grace_seconds)
    log.info("stopped")
