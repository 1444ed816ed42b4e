"""RPCs of both kinds of servers are counted by their codes, and their log lines have the caller's request id."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.wrappers_pb2 import StringValue
from prometheus_client import CollectorRegistry

from services.runtime.errors import DataApiError
from services.runtime.logs import add_context
from services.runtime.metrics import CallMetrics
from services.runtime.request_context import HEADER, REQUEST_ID
from services.runtime.rpc import AsyncErrorInterceptor, ErrorInterceptor, error_from_call
from services.runtime.rpc_observation import AsyncObservingInterceptor, CallObserver, ObservingInterceptor

log = structlog.get_logger("test")


def answer(asked: str) -> str:
    """Answer as the request asks: with the id of the request that is worked for, or by failing."""
    if asked == "known":
        raise DataApiError("UNKNOWN_KEYSPACE", keyspace="nowhere")
    if asked == "unforeseen":
        raise RuntimeError("said nowhere")
    return REQUEST_ID.get()


class Threaded:
    """A threaded server with one unary method and one that streams."""

    def __init__(self, observer: CallObserver) -> None:
        def unary(request: Any, context: Any) -> Any:
            return StringValue(value=answer(request.value))

        def stream(request: Any, context: Any) -> Iterator[Any]:
            yield StringValue(value=answer(request.value))
            yield StringValue(value=answer(request.value))

        self.server = grpc.server(
            futures.ThreadPoolExecutor(1), interceptors=[ErrorInterceptor(), ObservingInterceptor(observer)]
        )
        self.server.add_generic_rpc_handlers((handlers(unary, stream),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def ask(self, method: str, value: str, **metadata: str) -> list[str]:
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            make: Any = channel.unary_unary if method == "Unary" else channel.unary_stream
            call = make(
                f"/test.Test/{method}",
                request_serializer=StringValue.SerializeToString,
                response_deserializer=StringValue.FromString,
            )
            found = call(StringValue(value=value), timeout=10, metadata=tuple(metadata.items()))
            return [found.value] if method == "Unary" else [each.value for each in found]

    def stop(self) -> None:
        self.server.stop(0).wait()


class Asynchronous(Threaded):
    """The same on an event loop of its own thread."""

    def __init__(self, observer: CallObserver) -> None:
        async def unary(request: Any, context: Any) -> Any:
            await asyncio.sleep(0)
            return StringValue(value=answer(request.value))

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            yield StringValue(value=answer(request.value))
            await asyncio.sleep(0)
            yield StringValue(value=answer(request.value))

        async def start() -> None:
            interceptors = [AsyncErrorInterceptor(), AsyncObservingInterceptor(observer)]
            self.async_server = grpc.aio.server(interceptors=interceptors)
            self.async_server.add_generic_rpc_handlers((handlers(unary, stream),))
            self.port = self.async_server.add_insecure_port("127.0.0.1:0")
            await self.async_server.start()

        self.loop = asyncio.new_event_loop()
        self.thread = futures.ThreadPoolExecutor(1)
        self.running = self.thread.submit(self.loop.run_forever)
        asyncio.run_coroutine_threadsafe(start(), self.loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.async_server.stop(0), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.shutdown()
        self.loop.close()


def handlers(unary: Any, stream: Any) -> Any:
    serial = {
        "request_deserializer": StringValue.FromString,
        "response_serializer": StringValue.SerializeToString,
    }
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary, **serial),
        "Stream": grpc.unary_stream_rpc_method_handler(stream, **serial),
    }
    return grpc.method_handlers_generic_handler("test.Test", methods)


@pytest.fixture(params=[Threaded, Asynchronous], ids=["threads", "asyncio"])
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    registry = CollectorRegistry()
    running = request.param(
        CallObserver(CallMetrics("test", registry), 1e-9, lambda asked: {"characters": len(asked.value)})
    )
    running.registry = registry
    yield running
    running.stop()


@pytest.mark.parametrize("method", ["Unary", "Stream"])
def test_calls_are_counted_by_method_and_code(server: Any, method: str) -> None:
    server.ask(method, "good")
    for asked, code in (("known", "UNKNOWN_KEYSPACE"), ("unforeseen", "UNEXPECTED_SERVER_ERROR")):
        with pytest.raises(grpc.RpcError) as caught:
            server.ask(method, asked)
        error = error_from_call(caught.value)
        assert error is not None
        assert error.code == code
        assert "said nowhere" not in error.message
    for code in ("OK", "UNKNOWN_KEYSPACE", "UNEXPECTED_SERVER_ERROR"):
        labels = {"method": method, "code": code}
        assert server.registry.get_sample_value("orrery_test_rpcs_total", labels) == 1
    assert server.registry.get_sample_value("orrery_test_rpc_seconds_count", {"method": method}) == 3


@pytest.mark.parametrize("method", ["Unary", "Stream"])
def test_the_id_is_bound_while_a_call_is_answered_and_no_longer(server: Any, method: str) -> None:
    assert set(server.ask(method, "x", **{HEADER: "one,two"})) == {"one,two"}
    assert set(server.ask(method, "x")) == {""}, "the thread of before works for nobody's request"
    assert set(server.ask(method, "x", **{HEADER: 'no "id"'})) == {""}


def test_log_lines_have_the_service_and_the_request() -> None:
    add = add_context("store")
    REQUEST_ID.set("")
    assert add(log, "info", {"event": "x"}) == {"event": "x", "service": "store"}
    REQUEST_ID.set("mine")
    assert add(log, "info", {"event": "x"}) == {"event": "x", "service": "store", "request_id": "mine"}
    REQUEST_ID.set("")


def test_slow_calls_are_logged_without_their_content(server: Any) -> None:
    with structlog.testing.capture_logs() as lines:
        server.ask("Unary", "content")
    (line,) = [line for line in lines if line["event"] == "slow rpc"]
    assert (line["method"], line["code"], line["characters"]) == ("Unary", "OK", 7)
    assert "content" not in str(line)
