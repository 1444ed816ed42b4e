"""More callers than a slow disk can serve: some are refused at once, the others are served as fast as ever."""

import asyncio
import contextlib
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from orrery.store.v1 import store_pb2 as pb
from orrery.store.v1 import store_pb2_grpc

from services.runtime.errors import DataApiError
from services.runtime.rpc import error_from_call
from tests.crash.faults.disk import WAL, FaultyDisk
from tests.crash.model import Model, with_id
from tests.crash.process import StoreProcess

SYNC_SECONDS = 0.05
CALLERS = 300
SECONDS = 4.0
RUNNING, WAITING = 16, 64


@dataclass
class Tally:
    """What callers saw, in seconds a call."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    errors: list[DataApiError] = field(default_factory=list)

    def slowest(self, times: list[float]) -> float:
        """Return the time that 99 of 100 calls keep below."""
        return statistics.quantiles(times, n=100)[-1]


@pytest.fixture
def store(disk: FaultyDisk, tmp_path: Path) -> Iterator[StoreProcess]:
    settings = {"ORRERY_STORE_ADMISSION_RUNNING": str(RUNNING), "ORRERY_STORE_ADMISSION_WAITING": str(WAITING)}
    store = StoreProcess(tmp_path, {**disk.environment, **settings})
    yield store
    disk.heal()
    store.stop()


async def write(store: StoreProcess, model: Model, callers: int, seconds: float) -> Tally:
    """Have callers insert one document after the other; one that is refused waits a little."""
    tally, end = Tally(), time.monotonic() + seconds

    async def call(caller: int, rpc: Any) -> None:
        number = 0
        while time.monotonic() < end:
            number += 1
            document = model.document(caller * 1_000_000 + number + int(end) * 1_000_000_000, 0)
            started = time.monotonic()
            try:
                await rpc.InsertDocuments(pb.InsertDocumentsRequest(collection=model.collection, documents=[document]))
            except grpc.aio.AioRpcError as failure:
                tally.refused.append(time.monotonic() - started)
                error = error_from_call(failure)
                assert error is not None, failure
                tally.errors.append(error)
                await asyncio.sleep(0.5)
            else:
                tally.accepted.append(time.monotonic() - started)

    async with contextlib.AsyncExitStack() as stack:
        options = (("grpc.use_local_subchannel_pool", 1),)
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(store.address, options=options)) for _ in range(4)
        ]
        stubs: list[Any] = [store_pb2_grpc.StoreServiceStub(channel) for channel in channels]
        await asyncio.gather(*(call(caller, stubs[caller % len(stubs)]) for caller in range(callers)))
    return tally


@pytest.mark.timeout(180)
def test_a_store_that_is_asked_too_much_refuses_at_once_and_serves_the_others(
    store: StoreProcess, disk: FaultyDisk
) -> None:
    model = Model()
    model.create(store.rpc)
    store.rpc.InsertDocuments(pb.InsertDocumentsRequest(collection=model.collection, documents=[model.document(1, 0)]))
    disk.fail(WAL, sync_micros=int(SYNC_SECONDS * 1e6))
    few = asyncio.run(write(store, model, RUNNING // 2, SECONDS))
    assert not few.refused

    reads: list[float] = []
    checks: list[float] = []
    stop = threading.Event()

    def read() -> None:
        health = health_pb2_grpc.HealthStub(store.channel)  # type: ignore[no-untyped-call]
        while not stop.wait(0.05):
            started = time.monotonic()
            store.rpc.FindDocuments(pb.FindDocumentsRequest(collection=model.collection, filter=with_id(1), limit=1))
            reads.append(time.monotonic() - started)
            started = time.monotonic()
            health.Check(health_pb2.HealthCheckRequest())
            store.rpc.GetCollection(pb.GetCollectionRequest(collection=model.collection))
            checks.append(time.monotonic() - started)

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read)
        many = asyncio.run(write(store, model, CALLERS, SECONDS))
        stop.set()
        reading.result()

    figures = {
        "accepted a second, few": len(few.accepted) / SECONDS,
        "accepted a second, many": len(many.accepted) / SECONDS,
        "refused": len(many.refused),
        "refused, median ms": statistics.median(many.refused) * 1000,
        "refused, p99 ms": many.slowest(many.refused) * 1000,
        "accepted, p99 ms": many.slowest(many.accepted) * 1000,
        "reads, p99 ms": many.slowest(reads) * 1000,
        "health and small, p99 ms": many.slowest(checks) * 1000,
    }
    print({name: round(figure, 1) for name, figure in figures.items()})  # noqa: T201 - shown by -s
    assert {error.code for error in many.errors} == {"UNAVAILABLE_DATABASE"}
    assert "again in about" in many.errors[0].message
    # No collapse: what is accepted is not much less. The times are of one machine at one moment, so they are compared
    # with one another alone: whoever is refused, reads or asks how it goes does not stand in the writers' queue.
    assert len(many.accepted) > 0.5 * len(few.accepted)
    usual = statistics.median(many.accepted)
    assert statistics.median(many.refused) < usual
    assert statistics.median(reads) < usual
    assert statistics.median(checks) < usual


def test_a_call_whose_deadline_passed_while_it_waited_does_nothing(store: StoreProcess, disk: FaultyDisk) -> None:
    model = Model()
    model.create(store.rpc)
    store.rpc.InsertDocuments(pb.InsertDocumentsRequest(collection=model.collection, documents=[model.document(1, 0)]))
    disk.fail(WAL, sync_micros=1_500_000)

    def insert(identifier: int, seconds: float) -> grpc.StatusCode | None:
        request = pb.InsertDocumentsRequest(collection=model.collection, documents=[model.document(identifier, 0)])
        try:
            store.rpc.InsertDocuments(request, timeout=seconds)
        except grpc.RpcError as failure:
            return failure.code()  # type: ignore[no-any-return]
        return None

    with ThreadPoolExecutor(64) as threads:
        running = [threads.submit(insert, 100 + number, 20) for number in range(RUNNING // 2)]
        time.sleep(0.5)
        waiting = [threads.submit(insert, 200 + number, 0.3) for number in range(10)]
        assert {run.result() for run in waiting} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert {run.result() for run in running} == {None}
    disk.heal()

    assert {number for number in model.find_all(store.rpc) if number >= 200} == set()
