"""Channels to several real servers: who gets calls, and which calls are made again."""

from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from orrery.store.v1 import store_pb2, store_pb2_grpc

from services.runtime.channels import options_for
from services.runtime.errors import DataApiError
from services.runtime.rpc import abort_arguments

SECONDS = 10
LIST = store_pb2.ListKeyspacesRequest(database="default")
CREATE = store_pb2.CreateKeyspaceRequest(database="default", keyspace="k")


class Store(store_pb2_grpc.StoreServiceServicer):
    """A store that counts calls, and fails the first of `failures` as a broken connection does."""

    def __init__(self) -> None:
        self.calls = 0
        self.failures = 0
        self.busy = False
        self.health = health.HealthServicer()
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        store_pb2_grpc.add_StoreServiceServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def ListKeyspaces(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the contract's name
        self._count(context)
        return store_pb2.ListKeyspacesResponse(keyspaces=["k"])

    def CreateKeyspace(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the contract's name
        self._count(context)
        return store_pb2.CreateKeyspaceResponse()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _count(self, context: grpc.ServicerContext) -> None:
        self.calls += 1
        if self.busy:
            error = DataApiError("UNAVAILABLE_DATABASE", problem="it has too much to do", advice="Come again.")
            code, message, trailing = abort_arguments(error)
            context.set_trailing_metadata(trailing)
            context.abort(code, message)
        if self.failures:
            self.failures -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "")


@pytest.fixture
def stores() -> Iterator[tuple[Store, Store]]:
    both = Store(), Store()
    yield both
    for store in both:
        store.stop()


@pytest.fixture
def rpc(stores: tuple[Store, Store]) -> Iterator[Any]:
    target = f"ipv4:{','.join(store.address for store in stores)}"
    with grpc.insecure_channel(target, options=options_for(target)) as channel:
        grpc.channel_ready_future(channel).result(SECONDS)
        yield store_pb2_grpc.StoreServiceStub(channel)


def call(method: Any, request: Any, times: int = 1) -> None:
    for _ in range(times):
        method(request, timeout=SECONDS, wait_for_ready=True)


def until_both_are_called(rpc: Any, stores: tuple[Store, Store]) -> None:
    """One is connected before the other."""
    for _ in range(1000):
        call(rpc.ListKeyspaces, LIST)
        if all(store.calls for store in stores):
            break
    for store in stores:
        store.calls = 0


def test_every_server_of_a_name_gets_its_share(rpc: Any, stores: tuple[Store, Store]) -> None:
    until_both_are_called(rpc, stores)
    call(rpc.CreateKeyspace, CREATE, times=20)

    assert [store.calls for store in stores] == [10, 10]


def test_a_server_that_is_about_to_stop_gets_no_more(rpc: Any, stores: tuple[Store, Store]) -> None:
    until_both_are_called(rpc, stores)
    stores[0].health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    for _ in range(1000):
        before = stores[0].calls
        call(rpc.CreateKeyspace, CREATE, times=4)
        if stores[0].calls == before:
            break
    stores[0].calls = stores[1].calls = 0
    call(rpc.CreateKeyspace, CREATE, times=20)

    assert [store.calls for store in stores] == [0, 20]


def test_a_read_is_made_again_when_the_connection_fails(rpc: Any, stores: tuple[Store, Store]) -> None:
    until_both_are_called(rpc, stores)
    for store in stores:
        store.failures = 1
    call(rpc.ListKeyspaces, LIST)

    assert sum(store.calls for store in stores) == 3


def test_a_write_is_not(rpc: Any, stores: tuple[Store, Store]) -> None:
    until_both_are_called(rpc, stores)
    for store in stores:
        store.failures = 1
    with pytest.raises(grpc.RpcError):
        call(rpc.CreateKeyspace, CREATE)

    assert sum(store.calls for store in stores) == 1


def test_the_answer_that_a_service_has_too_much_to_do_brings_no_more(rpc: Any, stores: tuple[Store, Store]) -> None:
    until_both_are_called(rpc, stores)
    for store in stores:
        store.busy = True
    with pytest.raises(grpc.RpcError) as failure:
        call(rpc.ListKeyspaces, LIST)

    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
    assert sum(store.calls for store in stores) == 1
