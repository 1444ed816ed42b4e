"""The store is killed at random moments while clients write: nothing acknowledged is lost, nothing half applied."""

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from orrery.store.v1 import store_pb2 as pb
from orrery.store.v1 import store_pb2_grpc

ROUNDS = 3
WRITERS = 4
DIMENSION = 8
START_SECONDS = 30
#: A version of a document: its two fields and its vector all say it. None: the document does not exist.
Version = int | None


class Store:
    """A store as a process of its own, which is killed and started again on the same folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix:{folder}/run/s"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "services.cli", "store", "--data-dir", str(self.folder / "data")]
        self.process = subprocess.Popen([*command, "--listen", self.address, "--log-level", "error"])
        self.channel = grpc.insecure_channel(self.address)
        grpc.channel_ready_future(self.channel).result(START_SECONDS)
        self.rpc = store_pb2_grpc.StoreServiceStub(self.channel)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.channel.close()

    def stop(self) -> int:
        self.channel.close()
        self.process.terminate()
        return self.process.wait(START_SECONDS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    if store.process.poll() is None:
        store.stop()


NAME = pb.CollectionRef(database="d", keyspace="k", name="c")


def vector(identifier: int, version: int) -> bytes:
    """Return the vector of a document's version, like no other one's."""
    return np.random.default_rng((identifier, version)).standard_normal(DIMENSION).astype("<f4").tobytes()


def document(identifier: int, version: int) -> pb.Document:
    content = {"_id": identifier, "first": version, "nested": {"second": version}, "tag": f"{identifier}/{version}"}
    return pb.Document(json=json.dumps(content).encode(), vector=pb.Vector(values=vector(identifier, version)))


def equals(path: str, value: pb.Value) -> pb.Filter:
    return pb.Filter(condition=pb.Condition(path=pb.Path(segments=[path]), equals=value))


def with_id(identifier: int) -> pb.Filter:
    return equals("_id", pb.Value(number=str(identifier)))


class Writer:
    """Inserts, changes and deletes documents of its own until the store dies, and knows what was acknowledged.

    `possible` has the versions that each document may have: one where its last write was answered, two where the
    answer never came.
    """

    def __init__(self, store: Store, number: int, seed: int, acknowledged: threading.Semaphore) -> None:
        self.rpc = store.rpc
        self.random = random.Random(seed)
        self.first_id = seed * 100_000 + number * 10_000
        self.acknowledged = acknowledged
        self.possible: dict[int, set[Version]] = {}

    def run(self) -> None:
        """Write until the store dies."""
        try:
            while True:
                self._write()
                self.acknowledged.release()
        except grpc.RpcError as failure:
            # The store has died. Nothing else may refuse a write.
            assert failure.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), failure

    def _write(self) -> None:
        known = [identifier for identifier, versions in self.possible.items() if None not in versions]
        action = self.random.choice(["insert", "insert", "update", "update", "delete"]) if known else "insert"
        if action == "insert":
            start = self.first_id + len(self.possible)
            identifiers = range(start, start + self.random.choice([1, 10]))
            self._attempt(dict.fromkeys(identifiers, 0), self._insert)
            return
        identifier = self.random.choice(known)
        (version,) = self.possible[identifier]
        assert version is not None
        if action == "update":
            self._attempt({identifier: version + 1}, self._update)
        else:
            self._attempt({identifier: None}, self._delete)

    def _attempt(self, versions: dict[int, Any], write: Any) -> None:
        for identifier, version in versions.items():
            self.possible[identifier] = {version} | self.possible.get(identifier, {None})
        write(versions)
        for identifier, version in versions.items():
            self.possible[identifier] = {version}

    def _insert(self, versions: dict[int, int]) -> None:
        documents = [document(identifier, version) for identifier, version in versions.items()]
        response = self.rpc.InsertDocuments(pb.InsertDocumentsRequest(collection=NAME, documents=documents))
        assert set(response.outcomes) == {pb.INSERT_OUTCOME_INSERTED}

    def _update(self, versions: dict[int, int]) -> None:
        ((identifier, version),) = versions.items()
        text = str(version).encode()
        operations = [
            pb.UpdateOperation(path=pb.Path(segments=["first"]), set=text),
            pb.UpdateOperation(path=pb.Path(segments=["nested", "second"]), set=text),
            pb.UpdateOperation(path=pb.Path(segments=["tag"]), set=f'"{identifier}/{version}"'.encode()),
        ]
        special = pb.SpecialAssignments(vector=pb.Vector(values=vector(identifier, version)))
        response = self.rpc.UpdateDocuments(
            pb.UpdateDocumentsRequest(
                collection=NAME, filter=with_id(identifier), operations=operations, specials=[special], limit=1
            )
        )
        assert (response.matched_count, response.modified_count) == (1, 1)

    def _delete(self, versions: dict[int, None]) -> None:
        (identifier,) = versions
        request = pb.DeleteDocumentsRequest(collection=NAME, filter=with_id(identifier), limit=1)
        assert self.rpc.DeleteDocuments(request).deleted_count == 1


def find_all(store: Store) -> dict[int, Version]:
    """Return the version of every document, each looked at for signs of a write applied in part."""
    found: dict[int, Version] = {}
    after = 0
    while True:
        request = pb.FindDocumentsRequest(
            collection=NAME, limit=500, after=after, projection=pb.Projection(include_vector=True)
        )
        response = store.rpc.FindDocuments(request)
        for item in response.documents:
            content = json.loads(item.document.json)
            identifier, version = content["_id"], content["first"]
            assert content["nested"] == {"second": version}
            assert content["tag"] == f"{identifier}/{version}"
            assert item.document.vector.values == vector(identifier, version)
            assert identifier not in found
            found[identifier] = version
        if not response.HasField("next_after"):
            return found
        after = response.next_after


def check_indexes(store: Store, found: dict[int, Version]) -> None:
    """Check that each document is found by its id, by a filter and by its vector."""
    for identifier, version in found.items():
        assert version is not None
        content = document(identifier, version).json
        sort = pb.Sort(vector=vector(identifier, version))
        tag = equals("tag", pb.Value(text=f"{identifier}/{version}"))
        for request in (
            pb.FindDocumentsRequest(collection=NAME, filter=with_id(identifier), limit=2),
            pb.FindDocumentsRequest(collection=NAME, filter=tag, limit=2),
            pb.FindDocumentsRequest(collection=NAME, sort=sort, limit=1),
        ):
            (item,) = store.rpc.FindDocuments(request).documents
            assert json.loads(item.document.json) == json.loads(content)
    statistics = store.rpc.GetCollectionStatistics(pb.GetCollectionStatisticsRequest(collection=NAME))
    assert (statistics.documents, statistics.vectors) == (len(found), len(found))


def test_what_was_acknowledged_survives_kill_9_and_nothing_is_half_applied(store: Store) -> None:
    settings = pb.CollectionSettings(vector=pb.VectorSettings(dimension=DIMENSION, metric=pb.METRIC_EUCLIDEAN))
    store.rpc.CreateKeyspace(pb.CreateKeyspaceRequest(database="d", keyspace="k"))
    store.rpc.CreateCollection(pb.CreateCollectionRequest(database="d", keyspace="k", name="c", settings=settings))
    moments = random.Random()
    possible: dict[int, set[Version]] = {}
    for number in range(1, ROUNDS + 1):
        acknowledged = threading.Semaphore(0)
        writers = [Writer(store, writer, number, acknowledged) for writer in range(WRITERS)]
        with ThreadPoolExecutor(WRITERS) as threads:
            runs = [threads.submit(writer.run) for writer in writers]
            for _ in range(moments.randint(40, 300)):
                assert acknowledged.acquire(timeout=START_SECONDS)
            store.kill()
            for run in runs:
                run.result(START_SECONDS)
        for writer in writers:
            possible.update(writer.possible)
        store.start()

        found = find_all(store)
        assert found.keys() <= possible.keys()
        for identifier, versions in possible.items():
            assert found.get(identifier) in versions, identifier
        possible = {identifier: {found.get(identifier)} for identifier in possible}
    check_indexes(store, found)
    assert store.stop() == 0
