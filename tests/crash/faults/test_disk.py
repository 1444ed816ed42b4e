"""Faults of the disk come and go: writes are refused with the reason, reads go on, nothing acknowledged is lost."""

import errno
import random
import threading
import time
from collections.abc import Callable

import grpc
import pytest
from orrery.store.v1 import store_pb2 as pb

from services.runtime.errors import DataApiError
from services.runtime.rpc import error_from_call
from tests.crash.faults.disk import ALL, DATABASE, MEMORY, WAL, FaultyDisk
from tests.crash.model import Model, Reader, Writer, running
from tests.crash.process import StoreProcess

WRITERS = 4
Breaking = Callable[[FaultyDisk], None]

FAULTS: dict[str, Breaking] = {
    "full": lambda disk: disk.full(random.choice([0, 10_000, 300_000])),
    "full log": lambda disk: disk.full(random.choice([0, 5_000]), WAL),
    "full file": lambda disk: disk.full(random.choice([0, 5_000]), DATABASE),
    "full memory": lambda disk: disk.full(0, MEMORY),
    "read-only": lambda disk: disk.read_only(),
    "failed writes": lambda disk: disk.fail(ALL, write_errno=errno.EIO, write_bytes=random.choice([0, 20_000])),
    "failed fsync": lambda disk: disk.fail(ALL, sync_errno=errno.EIO),
    "failed fsync of the log": lambda disk: disk.fail(WAL, sync_errno=errno.EIO),
    "failed fsync of the file": lambda disk: disk.fail(DATABASE, sync_errno=errno.EIO),
    "one failed fsync": lambda disk: disk.fail(ALL, sync_errno=errno.EIO, sync_failures=1),
    "short writes": lambda disk: disk.fail(ALL, short_writes=3),
    "no change of names": lambda disk: disk.fail(ALL, change_errno=errno.EIO),
}


def insert(store: StoreProcess, model: Model, identifier: int) -> DataApiError | None:
    """Insert a document; return the error that refused it."""
    request = pb.InsertDocumentsRequest(collection=model.collection, documents=[model.document(identifier, 0)])
    try:
        with model.attempt({identifier: 0}):
            store.rpc.InsertDocuments(request, timeout=20)
    except DataApiError as error:
        return error
    return None


def until_accepted(store: StoreProcess, model: Model, identifier: int, seconds: float = 10) -> None:
    """Insert a document once writing goes on by itself."""
    end = time.monotonic() + seconds
    while (error := insert(store, model, identifier)) is not None:
        assert time.monotonic() < end, error
        time.sleep(0.1)


def test_the_library_stands_between_sqlite_and_the_disk(store: StoreProcess, disk: FaultyDisk) -> None:
    model = Model()
    model.create(store.rpc)
    opened, written, synced = disk.opened, disk.written, disk.synced
    assert opened and written and synced

    assert insert(store, model, 1) is None

    assert disk.written > written
    assert disk.synced > synced
    assert disk.failed == 0


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda disk: disk.full(), "is full; free space"),
        (lambda disk: disk.read_only(), "can only be read; make"),
        (lambda disk: disk.fail(ALL, write_errno=errno.EIO), "the disk that holds collections/"),
        (lambda disk: disk.fail(ALL, sync_errno=errno.EIO), "fsync"),
    ],
)
def test_a_write_is_refused_with_the_reason_reads_go_on_and_writing_resumes(
    store: StoreProcess, disk: FaultyDisk, breaks: Breaking, says: str
) -> None:
    model = Model()
    model.create(store.rpc)
    for identifier in range(20):
        assert insert(store, model, identifier) is None

    breaks(disk)
    for identifier in range(20, 24):
        error = insert(store, model, identifier)
        assert error is not None
        assert error.code == "FAILED_WRITE_REQUEST"
        assert says in error.message
        assert "documents.db" in error.message
        assert str(store.data) not in error.message
    model.check(store.rpc)
    request = pb.CreateKeyspaceRequest(database="d", keyspace="other")
    with pytest.raises(grpc.RpcError) as failed:
        store.rpc.CreateKeyspace(request)
    refused = error_from_call(failed.value)
    assert refused is not None
    assert refused.code == "FAILED_WRITE_REQUEST"
    assert "catalog.db" in refused.message

    disk.heal()
    until_accepted(store, model, 100)
    found = model.check(store.rpc)
    model.check_indexes(store.rpc, found)
    for _ in range(30):
        try:
            store.rpc.CreateKeyspace(request)
            break
        except grpc.RpcError:
            time.sleep(0.1)
    assert "other" in store.rpc.ListKeyspaces(pb.ListKeyspacesRequest(database="d")).keyspaces
    store.kill()
    store.start()
    assert model.check(store.rpc) == found


@pytest.mark.timeout(300)
def test_writers_while_faults_come_and_go_then_kill_9(store: StoreProcess, disk: FaultyDisk) -> None:
    model = Model(padding=2000)
    model.create(store.rpc)
    faults = list(FAULTS)
    random.shuffle(faults)
    for number, name in enumerate(faults, start=1):
        stop = threading.Event()
        writers = [
            Writer(store.rpc, model, number * 100 + writer, stop, lambda error: seen(error))
            for writer in range(WRITERS)
        ]
        reader = Reader(store.rpc, model, number, stop)
        with running(*writers, reader):
            model.wait_for_writes(20)
            FAULTS[name](disk)
            time.sleep(random.uniform(0.1, 0.6))
            disk.heal()
            while model.acknowledged.acquire(blocking=False):
                pass
            model.wait_for_writes(10)
            FAULTS[random.choice(faults)](disk)
            time.sleep(random.uniform(0.05, 0.3))
            store.kill()
        assert reader.reads
        disk.heal()
        store.start()
        model.check(store.rpc)
    model.check_indexes(store.rpc, model.check(store.rpc), 200)
    assert set(model.refusals) == {"FAILED_WRITE_REQUEST"}


def seen(error: DataApiError) -> None:
    """Take the error of a write that a fault has refused."""
    assert error.code == "FAILED_WRITE_REQUEST", error
