"""Files that are corrupt, and a directory that can only be read."""

import os
import random
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from orrery.store.v1 import store_pb2 as pb

from services.runtime.errors import DataApiError
from services.runtime.rpc import error_from_call
from tests.crash.faults.disk import FaultyDisk
from tests.crash.faults.test_disk import insert, until_accepted
from tests.crash.model import Model
from tests.crash.process import StoreProcess

DOCUMENTS = 300


def filled(store: StoreProcess, name: str) -> Model:
    """Return a collection with documents in it."""
    model = Model(name, padding=500)
    model.create(store.rpc)
    for first in range(0, DOCUMENTS, 50):
        versions = dict.fromkeys(range(first, first + 50), 0)
        documents = [model.document(identifier, 0) for identifier in versions]
        with model.attempt(versions):
            store.rpc.InsertDocuments(pb.InsertDocumentsRequest(collection=model.collection, documents=documents))
    return model


def file_of(store: StoreProcess, model: Model) -> Path:
    request = pb.GetCollectionRequest(collection=model.collection)
    uid = store.rpc.GetCollection(request).collection.uid
    return store.data / "collections" / uid / "documents.db"


def error_of(failure: grpc.RpcError) -> DataApiError:
    error = error_from_call(failure)
    assert error is not None, failure
    return error


@pytest.mark.parametrize("damage", ["header", "pages", "cut"])
def test_a_corrupt_collection_says_which_file_and_leaves_the_others(tmp_path: Path, damage: str) -> None:
    store = StoreProcess(tmp_path)
    broken, whole = filled(store, "broken"), filled(store, "whole")
    file = file_of(store, broken)
    assert store.stop() == 0
    content = bytearray(file.read_bytes())
    if damage == "header":
        content[:100] = random.randbytes(100)
    elif damage == "pages":
        for page in range(1, len(content) // 4096):
            content[page * 4096 : page * 4096 + 64] = random.randbytes(64)
    else:
        del content[len(content) // 2 :]
    file.write_bytes(content)

    store.start()
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as failed:
            broken.find_all(store.rpc)
        error = error_of(failed.value)
        assert error.code in ("CORRUPTED_COLLECTION_SCHEMA", "FAILED_READ_REQUEST")
        assert f"collections/{file.parent.name}/documents.db" in error.message
        assert "restore the collection from a backup" in error.message
        refused = insert(store, broken, 1000)
        assert refused is not None
    whole.check_indexes(store.rpc, whole.check(store.rpc), 20)
    assert insert(store, whole, 1000) is None
    assert store.stop() == 0


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes_never_take_the_store_down(tmp_path: Path, seed: int) -> None:
    store = StoreProcess(tmp_path)
    broken, whole = filled(store, "broken"), filled(store, "whole")
    file = file_of(store, broken)
    assert store.stop() == 0
    flips = random.Random(seed)
    content = bytearray(file.read_bytes())
    for _ in range(flips.choice([1, 20, 300])):
        content[flips.randrange(len(content))] ^= 1 << flips.randrange(8)
    file.write_bytes(content)

    store.start()
    for number in range(20):
        error = insert(store, broken, 1000 + number)
        assert error is None or error.code in ("CORRUPTED_COLLECTION_SCHEMA", "FAILED_WRITE_REQUEST"), error
    after = 0
    for _ in range(10):
        request = pb.FindDocumentsRequest(collection=broken.collection, limit=100, after=after)
        try:
            after = store.rpc.FindDocuments(request).next_after
        except grpc.RpcError as failure:
            assert error_of(failure).code in ("CORRUPTED_COLLECTION_SCHEMA", "FAILED_READ_REQUEST"), failure
            break
    whole.check_indexes(store.rpc, whole.check(store.rpc), 20)
    assert insert(store, whole, 1000) is None
    assert store.stop() == 0


@pytest.mark.parametrize("killed", [False, True])
def test_a_directory_that_can_only_be_read_is_served(store: StoreProcess, disk: FaultyDisk, killed: bool) -> None:
    model = filled(store, "c")
    file = file_of(store, model)
    if killed:
        store.kill()
        assert file.with_name("documents.db-wal").stat().st_size
    else:
        assert store.stop() == 0
    disk.read_only()

    store.start()
    found = model.check(store.rpc)
    model.check_indexes(store.rpc, found, 20)
    error = insert(store, model, 1000)
    assert error is not None
    assert error.code == "FAILED_WRITE_REQUEST"
    assert "the data directory can only be read" in error.message
    assert store.stop() == 0

    disk.heal()
    store.start()
    assert model.check(store.rpc) == found
    assert insert(store, model, 1000) is None


def test_a_log_that_cannot_be_read_is_not_passed_over(store: StoreProcess, disk: FaultyDisk) -> None:
    model = filled(store, "c")
    file = file_of(store, model)
    store.kill()
    file.with_name("documents.db-shm").unlink()
    disk.read_only()

    store.start()
    with pytest.raises(grpc.RpcError) as failed:
        model.check(store.rpc)
    assert "was not closed properly" in error_of(failed.value).message
    assert store.stop() == 0

    disk.heal()
    store.start()
    model.check(store.rpc)


def test_a_file_that_can_only_be_read_takes_writes_again_once_it_is_mended(
    store: StoreProcess, disk: FaultyDisk
) -> None:
    model = filled(store, "c")
    assert store.stop() == 0
    store.start()
    # The catalogue is open by now, the collection is not.
    store.rpc.ListKeyspaces(pb.ListKeyspacesRequest(database="d"))
    disk.read_only()

    found = model.check(store.rpc)
    error = insert(store, model, 1000)
    assert error is not None
    assert "can only be read" in error.message

    disk.heal()
    until_accepted(store, model, 1000)
    assert model.check(store.rpc) == {**found, 1000: 0}


def test_an_empty_directory_that_can_only_be_read_is_refused_at_the_start(library: Path, tmp_path: Path) -> None:
    disk = FaultyDisk(library, tmp_path / "data")
    disk.read_only()
    command = [sys.executable, "-m", "services.cli", "store", "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(
        [*command, "--listen", f"unix:{tmp_path}/run/s"],
        env={**os.environ, **disk.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert "make it writable" in done.stderr
    assert "Traceback" not in done.stderr
