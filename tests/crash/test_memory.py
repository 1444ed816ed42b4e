"""A store with a small memory budget refuses what would not fit, and takes it once there is room."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from orrery.store.v1 import store_pb2 as pb

from services.runtime.errors import DataApiError
from services.runtime.rpc import error_from_call
from tests.crash.model import Model
from tests.crash.process import StoreProcess

#: Over what a store without documents takes.
ROOM = 120_000_000
DIMENSION = 2048


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreProcess]:
    store = StoreProcess(tmp_path)
    idle = store.resident_bytes()
    assert store.stop() == 0
    store.environment["ORRERY_STORE_MEMORY_BYTES"] = str(idle + ROOM)
    store.start()
    yield store
    store.stop()


def fill(store: StoreProcess, model: Model, first: int, most: int) -> tuple[int, DataApiError | None]:
    """Insert until refused; return how many were taken, and the refusal."""
    budget = int(store.environment["ORRERY_STORE_MEMORY_BYTES"])
    for start in range(first, first + most, 50):
        documents = [model.document(identifier, 0) for identifier in range(start, start + 50)]
        try:
            store.rpc.InsertDocuments(pb.InsertDocumentsRequest(collection=model.collection, documents=documents))
        except grpc.RpcError as failure:
            return start - first, error_from_call(failure)
        assert store.resident_bytes() < budget
    return most, None


@pytest.mark.timeout(300)
def test_a_full_memory_refuses_writes_that_grow_and_nothing_else(store: StoreProcess) -> None:
    model = Model(dimension=DIMENSION)
    model.create(store.rpc)
    taken, error = fill(store, model, 0, 20_000)
    assert error is not None
    assert error.code == "FAILED_WRITE_REQUEST"
    assert "MB of memory" in error.message
    assert taken * DIMENSION * 4 > ROOM / 8

    full = store.resident_bytes()
    assert model.nearest(store.rpc, 7, 0) == 7
    while True:
        condition = pb.Condition(path=pb.Path(segments=["first"]), equals=pb.Value(number="0"))
        request = pb.DeleteDocumentsRequest(
            collection=model.collection, filter=pb.Filter(condition=condition), limit=500
        )
        if not store.rpc.DeleteDocuments(request).more:
            break
    again, error = fill(store, model, 100_000, taken // 2 // 50 * 50)
    assert error is None, error
    assert again == taken // 2 // 50 * 50
    print({"taken": taken, "full": full, "after": store.resident_bytes()})  # noqa: T201 - shown by -s
    assert model.nearest(store.rpc, 100_007, 0) == 100_007
    assert store.stop() == 0
