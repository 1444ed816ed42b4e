"""The operations over gRPC: every RPC, progress before results, errors that arrive as they were raised."""

import json
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from orrery.store.v1 import operations_pb2 as pb
from orrery.store.v1 import operations_pb2_grpc, store_pb2

from services.runtime.errors import DataApiError
from services.runtime.rpc import ErrorInterceptor, error_from_call
from services.store.changes import Selection, VectorOrder
from services.store.collection import Collection
from services.store.connections import FILE_NAME
from services.store.documents import create_tables, open_database
from services.store.engine import Engine
from services.store.filters import EVERYTHING, In, Range
from services.store.operations import OperationsServicer
from services.store.projection import WHOLE
from services.store.records import CollectionSettings, Record, StoredVector, VectorSettings
from services.store.vectors.similarity import Metric
from tests.unit.store.conftest import Make

DIMENSION = 64
VECTORS = CollectionSettings(VectorSettings(DIMENSION, Metric.EUCLIDEAN))
NAME = store_pb2.CollectionRef(database="d", keyspace="k", name="c")
MANY = 3000


@pytest.fixture
def stub(engine: Engine, tmp_path: Path) -> Iterator[Any]:
    server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=[ErrorInterceptor()])
    operations_pb2_grpc.add_OperationsServiceServicer_to_server(OperationsServicer(engine), server)
    server.add_insecure_port(f"unix:{tmp_path}/s")
    server.start()
    with grpc.insecure_channel(f"unix:{tmp_path}/s") as channel:
        yield operations_pb2_grpc.OperationsServiceStub(channel)
    server.stop(None).wait()


def vector(identifier: int) -> bytes:
    return np.random.default_rng(identifier).standard_normal(DIMENSION).astype("<f4").tobytes()


def fill(collection: Collection, count: int) -> None:
    records = [Record(b'{"_id":%d,"n":%d}' % (n, n), StoredVector(vector(n))) for n in range(count)]
    collection.insert(records, ordered=True)


def delete_all_but(collection: Collection, few: int) -> None:
    selection = Selection(Range(("n",), (few, True), None))
    while collection.delete(selection, 500, None).count:
        pass


def error_of(call: Any) -> DataApiError:
    with pytest.raises(grpc.RpcError) as failed:
        list(call)
    error = error_from_call(failed.value)
    assert error is not None
    return error


def test_a_backup_and_a_restore_tell_how_far_they_are_and_are_audited(
    stub: Any, engine: Engine, make: Make, tmp_path: Path
) -> None:
    fill(make(VECTORS), MANY)
    folder = str(tmp_path / "backup")

    *steps, last = stub.BackupDatabase(pb.BackupDatabaseRequest(database="d", folder=folder))
    (saved,) = last.backup.collections
    *back, restored = stub.RestoreDatabase(pb.RestoreDatabaseRequest(folder=folder, database="new"))

    assert (saved.keyspace, saved.name, saved.documents, saved.vectors, saved.sequence) == ("k", "c", MANY, MANY, 1)
    assert restored.backup == last.backup
    for progress in ([step.progress for step in steps], [step.progress for step in back]):
        done = [item.done_bytes for item in progress]
        assert done == sorted(done)
        assert done[-1] == progress[-1].total_bytes == 2 * saved.bytes
    assert steps[0].progress.stage == "k.c"
    audited = [json.loads(line) for line in (engine.data_dir / "audit.log").read_text().splitlines()]
    assert [(entry["what"], entry["who"]) for entry in audited if entry["database"] == "new"] == [
        ("database created", "rpc"),
        ("database restored", "rpc"),
    ]


def test_errors_of_streams_arrive_with_their_codes(stub: Any, engine: Engine, tmp_path: Path) -> None:
    relative = error_of(stub.BackupDatabase(pb.BackupDatabaseRequest(database="d", folder="backup")))
    missing = error_of(stub.RestoreDatabase(pb.RestoreDatabaseRequest(folder=str(tmp_path / "nothing"))))
    unknown = error_of(stub.CompactCollection(pb.CompactCollectionRequest(collection=NAME)))

    assert (relative.code, relative.details["problem"]) == ("BACKUP_TARGET_INVALID", "the path is not absolute")
    assert missing.code == "BACKUP_INVALID"
    assert unknown.code == "UNKNOWN_COLLECTION_OR_TABLE"


def test_a_cancelled_backup_leaves_nothing(stub: Any, engine: Engine, make: Make, tmp_path: Path) -> None:
    fill(make(VECTORS), MANY)
    call = stub.BackupDatabase(pb.BackupDatabaseRequest(database="d", folder=str(tmp_path / "backup")))
    next(call)

    call.cancel()

    # Waits until it has ended.
    assert engine._operation.acquire(timeout=10)
    engine._operation.release()
    assert {path.name for path in tmp_path.iterdir()} <= {"data", "s", "backup"}
    assert engine.catalog.noted_backups() == []


# --- compaction -------------------------------------------------------------


def compacted(stub: Any) -> pb.Compaction:
    *_, last = stub.CompactCollection(pb.CompactCollectionRequest(collection=NAME))
    assert last.HasField("compaction")
    return last.compaction


def test_compaction_gives_back_what_deleted_documents_took(stub: Any, engine: Engine, make: Make) -> None:
    collection = make(VECTORS)
    fill(collection, MANY)
    delete_all_but(collection, 10)
    before = figures(stub)

    done = compacted(stub)

    after = figures(stub)
    assert done.before_bytes == before.file_bytes + before.wal_bytes
    assert done.after_bytes == after.file_bytes + after.wal_bytes < done.before_bytes / 5
    assert (after.free_bytes, after.wal_bytes) == (0, 0)
    assert after.index.memory_bytes <= before.index.memory_bytes
    collection_still_right(collection, 10)


def collection_still_right(collection: Collection, count: int) -> None:
    assert collection.totals() == (count, count)
    for number in range(count):
        for selection in (
            Selection(In(("n",), (number,))),
            Selection(EVERYTHING, VectorOrder(vector(number))),
        ):
            (item,), _ = collection.find(selection, WHOLE, skip=0, limit=1, after=0)
            assert item.record.json == b'{"_id":%d,"n":%d}' % (number, number)


def test_reads_and_writes_go_on_while_a_collection_is_compacted(stub: Any, engine: Engine, make: Make) -> None:
    collection = make(VECTORS)
    fill(collection, MANY)
    delete_all_but(collection, 10)
    call = stub.CompactCollection(pb.CompactCollectionRequest(collection=NAME))

    number = 10
    for _ in call:
        collection.insert([Record(b'{"_id":%d,"n":%d}' % (number, number), StoredVector(vector(number)))], ordered=True)
        number += 1
        assert collection.count(EVERYTHING, 0) == (number, False)

    collection_still_right(collection, number)


def test_a_file_from_before_free_pages_were_given_back_singly_is_compacted(
    stub: Any, engine: Engine, make: Make
) -> None:
    entry, _ = engine.catalog.create_collection("d", "k", "c", VECTORS, b"", None)
    path = engine.folder(entry.uid) / FILE_NAME
    path.parent.mkdir(parents=True)
    path.touch()
    # Opened without being made: the pages of such a file cannot be given back.
    connection = open_database(path)
    connection.execute("PRAGMA user_version = 0; CREATE TABLE before (a); DROP TABLE before")
    connection.close()
    collection = engine.collection("d", "k", "c", "")
    fill(collection, MANY)
    delete_all_but(collection, 10)
    with collection.writes_held() as writer:
        assert writer.connection.execute("PRAGMA auto_vacuum").fetchall() == [(0,)]

    done = compacted(stub)

    assert done.after_bytes < done.before_bytes / 5
    with collection.writes_held() as writer:
        assert writer.connection.execute("PRAGMA auto_vacuum").fetchall() == [(2,)]
    collection_still_right(collection, 10)


def test_filters_are_searched_in_the_index_after_compaction_too(stub: Any, make: Make) -> None:
    collection = make(VECTORS)
    fill(collection, MANY)
    filters = [In(("n",), (5,)), Range(("n",), (5, True), (9, True)), In(("n",), (5, 6, 7))]
    before = [collection.explain(filter_) for filter_ in filters]

    compacted(stub)

    assert [collection.explain(filter_) for filter_ in filters] == before


# --- figures ----------------------------------------------------------------


def figures(stub: Any) -> pb.CollectionFigures:
    answer: pb.CollectionFigures = stub.InspectCollection(pb.InspectCollectionRequest(collection=NAME)).figures
    return answer


def test_figures_of_an_open_collection(stub: Any, engine: Engine, make: Make) -> None:
    collection = make(VECTORS)
    fill(collection, 100)
    collection.insert([Record(b'{"_id":"without"}')], ordered=True)

    found = figures(stub)

    assert (found.keyspace, found.name, found.uid) == ("k", "c", collection.entry.uid)
    assert (found.state, found.problem) == (pb.COLLECTION_STATE_OPEN, "")
    assert (found.documents, found.vectors, found.sequence) == (101, 100, 2)
    assert (found.index.kind, found.index.vectors, found.index.tombstones) == (pb.INDEX_KIND_EXACT, 100, 0)
    assert not found.index.HasField("recall")
    assert found.index.memory_bytes >= 100 * 4 * DIMENSION
    sizes = {path.name: path.stat().st_size for path in engine.folder(found.uid).iterdir()}
    assert (found.file_bytes, found.wal_bytes) == (sizes["documents.db"], sizes["documents.db-wal"])


def test_figures_open_no_collection(tmp_path: Path) -> None:
    first = Engine(tmp_path)
    first.catalog.create_keyspace("d", "k")
    for name, settings in (("c", VECTORS), ("plain", CollectionSettings()), ("unused", VECTORS)):
        first.catalog.create_collection("d", "k", name, settings, b"", None)
    fill(first.collection("d", "k", "c", ""), 7)
    first.collection("d", "k", "plain", "").insert([Record(b'{"_id":1}')], ordered=True)
    first.close()
    engine = Engine(tmp_path)
    servicer = OperationsServicer(engine)

    context: Any = None
    answer = servicer.InspectDatabase(pb.InspectDatabaseRequest(database="d"), context)

    assert [(item.name, item.state, item.documents, item.sequence) for item in answer.collections] == [
        ("c", pb.COLLECTION_STATE_NOT_OPENED, 7, 1),
        ("plain", pb.COLLECTION_STATE_NOT_OPENED, 1, 1),
        ("unused", pb.COLLECTION_STATE_NOT_OPENED, 0, 0),
    ]
    assert [item.HasField("vectors") for item in answer.collections] == [False, True, False]
    assert not any(item.HasField("index") for item in answer.collections)
    assert all(engine.opened(item.uid) is None for item in answer.collections)
    engine.close()


def test_a_damaged_collection_says_why(stub: Any, engine: Engine, make: Make) -> None:
    make(name="sound")
    entry, _ = engine.catalog.create_collection("d", "k", "c", VECTORS, b"", None)
    engine.folder(entry.uid).mkdir()
    (engine.folder(entry.uid) / FILE_NAME).write_bytes(b"garbage" * 1000)

    found = figures(stub)

    assert (found.state, found.problem) == (pb.COLLECTION_STATE_DAMAGED, "file is not a database")
    assert not found.HasField("documents")
    (_, sound) = stub.InspectDatabase(pb.InspectDatabaseRequest(database="d")).collections
    assert sound.state == pb.COLLECTION_STATE_OPEN


def test_a_collection_that_could_not_be_opened_says_why(stub: Any, engine: Engine, tmp_path: Path) -> None:
    entry, _ = engine.catalog.create_collection("d", "k", "c", VECTORS, b"", None)
    engine.folder(entry.uid).mkdir(parents=True)
    file = open_database(engine.folder(entry.uid) / FILE_NAME, create=True)
    create_tables(file)
    file.execute("ALTER TABLE documents RENAME COLUMN sequence TO gone")
    file.close()
    assert figures(stub).state == pb.COLLECTION_STATE_NOT_OPENED

    with pytest.raises(DataApiError):
        engine.collection("d", "k", "c", "")

    assert figures(stub).state == pb.COLLECTION_STATE_DAMAGED
    assert "no such column: sequence" in figures(stub).problem
    engine.drop_collection("d", "k", "c")
    engine.catalog.create_collection("d", "k", "c", VECTORS, b"", None)
    assert figures(stub).state == pb.COLLECTION_STATE_NOT_OPENED
