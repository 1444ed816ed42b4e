"""`kill -9` in a backup and in a restore: there is the old state or the new one, and nothing besides after a start."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from orrery.store.v1 import operations_pb2 as pb
from orrery.store.v1 import operations_pb2_grpc, store_pb2

from tests.crash.process import StoreProcess

ROUNDS = 5
COLLECTIONS = ("a", "b", "c")
DOCUMENTS = 300
BATCH = 100
PADDING = "x" * 4000
SETTINGS = store_pb2.CollectionSettings(vector=store_pb2.VectorSettings(dimension=4, metric=store_pb2.METRIC_EUCLIDEAN))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreProcess]:
    store = StoreProcess(tmp_path)
    yield store
    if store.process.poll() is None:
        store.stop()


def operations(store: StoreProcess) -> Any:
    return operations_pb2_grpc.OperationsServiceStub(store.channel)


def reference(name: str, database: str = "d") -> store_pb2.CollectionRef:
    return store_pb2.CollectionRef(database=database, keyspace="k", name=name)


def write(store: StoreProcess, version: int) -> None:
    """Have every collection hold documents that say a version, and no others."""
    store.rpc.CreateKeyspace(store_pb2.CreateKeyspaceRequest(database="d", keyspace="k"))
    for name in COLLECTIONS:
        store.rpc.CreateCollection(
            store_pb2.CreateCollectionRequest(database="d", keyspace="k", name=name, settings=SETTINGS)
        )
        store.rpc.TruncateCollection(store_pb2.TruncateCollectionRequest(collection=reference(name)))
        for start in range(0, DOCUMENTS, BATCH):
            documents = [
                store_pb2.Document(
                    json=json.dumps({"_id": number, "version": version, "padding": PADDING}).encode(),
                    vector=store_pb2.Vector(values=b"\0\0\x80\x3f" * 4),
                )
                for number in range(start, start + BATCH)
            ]
            store.rpc.InsertDocuments(store_pb2.InsertDocumentsRequest(collection=reference(name), documents=documents))


def versions(store: StoreProcess, database: str = "d") -> set[int]:
    """Return the versions that the documents of all collections say, each collection being whole."""
    found = set()
    for name in COLLECTIONS:
        collection = reference(name, database)
        for version in range(1, ROUNDS + 2):
            is_it = store_pb2.Condition(
                path=store_pb2.Path(segments=["version"]), equals=store_pb2.Value(number=str(version))
            )
            request = store_pb2.CountDocumentsRequest(collection=collection, filter=store_pb2.Filter(condition=is_it))
            count = store.rpc.CountDocuments(request).count
            assert count in (0, DOCUMENTS), (name, version)
            if count:
                found.add(version)
        figures = store.rpc.GetCollectionStatistics(store_pb2.GetCollectionStatisticsRequest(collection=collection))
        assert (figures.documents, figures.vectors) == (DOCUMENTS, DOCUMENTS)
    return found


def kill_within(store: StoreProcess, method: str, request: Any, moment: int) -> bool:
    """Kill the store when an operation has told its progress so many times; return whether it had answered."""
    answered = False
    try:
        for number, event in enumerate(getattr(operations(store), method)(request)):
            answered = not event.HasField("progress")
            if number == moment or answered:
                store.kill()
    except (grpc.RpcError, ValueError):  # the channel is closed
        pass
    if store.process.poll() is None:
        store.kill()
    return answered


def steps_of(store: StoreProcess, folder: Path) -> int:
    """Make a backup and return how often it told its progress."""
    return len(list(operations(store).BackupDatabase(pb.BackupDatabaseRequest(database="d", folder=str(folder)))))


def nothing_besides(store: StoreProcess, *names: str) -> None:
    """Check that there are no files but those that belong to something."""
    assert {path.name for path in store.folder.iterdir()} <= {"data", "run", "store.log", *names}
    known = {
        collection.uid
        for database in ("d", "copy")
        for keyspace in store.rpc.ListKeyspaces(store_pb2.ListKeyspacesRequest(database=database)).keyspaces
        for collection in store.rpc.ListCollections(
            store_pb2.ListCollectionsRequest(database=database, keyspace=keyspace)
        ).collections
    }
    assert {path.name for path in (store.folder / "data" / "collections").iterdir()} <= known


def moments(steps: int) -> list[int]:
    """Return moments to kill at: the first and the last, and some between."""
    return [0, steps - 2, *random.Random().sample(range(1, max(ROUNDS, steps - 2)), ROUNDS - 2)]


def test_a_killed_backup_is_whole_or_not_there(store: StoreProcess) -> None:
    write(store, 1)
    steps = steps_of(store, store.folder / "first")
    for turn, moment in enumerate(moments(steps)):
        target = store.folder / f"backup-{turn}"

        answered = kill_within(
            store, "BackupDatabase", pb.BackupDatabaseRequest(database="d", folder=str(target)), moment
        )

        store.start()
        nothing_besides(store, "first", *(f"backup-{number}" for number in range(turn + 1)))
        assert target.exists() or not answered
        if target.exists():
            request = pb.RestoreDatabaseRequest(folder=str(target), database="copy", replace=True)
            list(operations(store).RestoreDatabase(request))
            assert versions(store, "copy") == {1}
    assert versions(store) == {1}
    assert store.stop() == 0


def test_a_killed_restore_leaves_the_old_state_or_the_new(store: StoreProcess) -> None:
    write(store, 1)
    steps = steps_of(store, store.folder / "backup")
    for turn, moment in enumerate(moments(steps)):
        now = turn + 2
        write(store, now)

        request = pb.RestoreDatabaseRequest(folder=str(store.folder / "backup"), replace=True)
        answered = kill_within(store, "RestoreDatabase", request, moment)

        store.start()
        assert versions(store) in ([{1}] if answered else [{1}, {now}])
        nothing_besides(store, "backup")
    assert store.stop() == 0
