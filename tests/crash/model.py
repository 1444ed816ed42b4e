"""A model of what a store has acknowledged, writers and readers that keep it, and the check of a store against it.

A document's version is written into its two fields, its tag and its vector at once, so that a write that was applied
in part shows. A test runs `rounds`: writers write and readers read until the store dies, or until they are stopped;
then `Model.check` compares all that is there with what was acknowledged.
"""

import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from orrery.store.v1 import store_pb2 as pb
from orrery.store.v1 import store_pb2_grpc

from services.runtime.errors import DataApiError
from services.runtime.rpc import error_from_call

#: A version of a document. None: the document does not exist.
Version = int | None
#: What a failed call means for the model: the store is gone, the write was refused, or nobody knows.
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
#: A disk that is shared with others may stop for half a minute.
_TIMEOUT_SECONDS = 120
#: Finds that are asked for in one call.
_TOGETHER = 200


class StoreGoneError(Exception):
    """The store has died."""


def equals(path: str, value: pb.Value) -> pb.Filter:
    """Return the filter of an equal value."""
    return pb.Filter(condition=pb.Condition(path=pb.Path(segments=[path]), equals=value))


def with_id(identifier: int) -> pb.Filter:
    """Return the filter of one document."""
    return equals("_id", pb.Value(number=str(identifier)))


@dataclass
class Model:
    """What is known of the documents of one collection.

    `possible` has the versions that each document may have: one where its last write was answered, two where the
    answer never came, or said that it is not known. `exact` is False where the vector index is a graph, whose search
    may miss one: then `recall` is the share of nearest documents that must be found. `padding` makes documents larger.
    """

    name: str = "c"
    dimension: int = 8
    exact: bool = True
    recall: float = 0.9
    padding: int = 0
    possible: dict[int, set[Version]] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    acknowledged: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def collection(self) -> pb.CollectionRef:
        """How requests name the collection."""
        return pb.CollectionRef(database="d", keyspace="k", name=self.name)

    def create(self, rpc: store_pb2_grpc.StoreServiceStub) -> None:
        """Create the collection."""
        settings = pb.CollectionSettings(vector=pb.VectorSettings(dimension=self.dimension, metric=pb.METRIC_EUCLIDEAN))
        rpc.CreateKeyspace(pb.CreateKeyspaceRequest(database="d", keyspace="k"))
        request = pb.CreateCollectionRequest(database="d", keyspace="k", name=self.name, settings=settings)
        rpc.CreateCollection(request)

    def vector(self, identifier: int, version: int) -> bytes:
        """Return the vector of a document's version, like no other one's."""
        return np.random.default_rng((identifier, version)).standard_normal(self.dimension).astype("<f4").tobytes()

    def document(self, identifier: int, version: int) -> pb.Document:
        """Return a version of a document."""
        tag = f"{identifier}/{version}"
        content: dict[str, Any] = {"_id": identifier, "first": version, "nested": {"second": version}, "tag": tag}
        if self.padding:
            content["padding"] = "x" * self.padding
        return pb.Document(json=json.dumps(content).encode(), vector=pb.Vector(values=self.vector(identifier, version)))

    def version_of(self, document: pb.Document) -> tuple[int, int]:
        """Return a document's id and version, looked at for signs of a write applied in part."""
        content = json.loads(document.json)
        identifier, version = content["_id"], content["first"]
        assert content["nested"] == {"second": version}
        assert content["tag"] == f"{identifier}/{version}"
        assert document.vector.values == self.vector(identifier, version)
        return identifier, version

    @contextmanager
    def attempt(self, versions: Mapping[int, Version]) -> Iterator[None]:
        """Note what a write may change, and what has become of it."""
        with self._lock:
            before = {identifier: self.possible.get(identifier, {None}) for identifier in versions}
            for identifier, version in versions.items():
                self.possible[identifier] = before[identifier] | {version}
        try:
            yield
        except grpc.RpcError as failure:
            error = error_from_call(failure)
            if error is None:
                # The store has died. Nothing else may refuse a write.
                assert failure.code() in _GONE, failure
                raise StoreGoneError from None
            with self._lock:
                self.refusals[error.code] = self.refusals.get(error.code, 0) + 1
                if "may be found made" not in error.message:
                    self.possible.update(before)
            raise error from None
        with self._lock:
            for identifier, version in versions.items():
                self.possible[identifier] = {version}
        self.acknowledged.release()

    def versions(self, identifier: int) -> set[Version]:
        """Return the versions that a document may have now."""
        with self._lock:
            return set(self.possible.get(identifier, {None}))

    def known(self, among: range) -> list[int]:
        """Return the documents, among some, that are surely there in one version."""
        with self._lock:
            return [
                number
                for number in among
                if len(self.possible.get(number, ())) == 1 and None not in self.possible[number]
            ]

    def wait_for_writes(self, count: int, seconds: float = _TIMEOUT_SECONDS) -> None:
        """Wait until so many more writes were acknowledged."""
        for _ in range(count):
            assert self.acknowledged.acquire(timeout=seconds), "writes are no longer acknowledged"

    def find_all(self, rpc: store_pb2_grpc.StoreServiceStub) -> dict[int, int]:
        """Return the version of every document in the store."""
        found: dict[int, int] = {}
        after = 0
        while True:
            request = pb.FindDocumentsRequest(
                collection=self.collection, limit=500, after=after, projection=pb.Projection(include_vector=True)
            )
            response = rpc.FindDocuments(request)
            for item in response.documents:
                identifier, version = self.version_of(item.document)
                assert identifier not in found
                found[identifier] = version
            if not response.HasField("next_after"):
                return found
            after = response.next_after

    def check(self, rpc: store_pb2_grpc.StoreServiceStub) -> dict[int, int]:
        """Compare the store with what was acknowledged; what was in doubt is known from then on."""
        found = self.find_all(rpc)
        assert found.keys() <= self.possible.keys()
        for identifier, versions in self.possible.items():
            assert found.get(identifier) in versions, (identifier, versions, found.get(identifier))
        self.possible = {identifier: {found.get(identifier)} for identifier in self.possible}
        statistics = rpc.GetCollectionStatistics(pb.GetCollectionStatisticsRequest(collection=self.collection))
        assert (statistics.documents, statistics.vectors) == (len(found), len(found))
        return found

    def check_indexes(self, rpc: store_pb2_grpc.StoreServiceStub, found: Mapping[int, int], most: int = 500) -> None:
        """Check that documents are found by their id, by a filter and by their vector; `most` of them, at random."""
        chosen = random.sample(sorted(found), min(most, len(found)))
        nearest = 0
        for identifier in chosen:
            version = found[identifier]
            tag = equals("tag", pb.Value(text=f"{identifier}/{version}"))
            for filter_ in (with_id(identifier), tag):
                request = pb.FindDocumentsRequest(collection=self.collection, filter=filter_, limit=2)
                (item,) = rpc.FindDocuments(request).documents
                assert json.loads(item.document.json)["first"] == version
            nearest += self.nearest(rpc, identifier, version) == identifier
        assert nearest >= (1 if self.exact else self.recall) * len(chosen)

    def nearest(self, rpc: store_pb2_grpc.StoreServiceStub, identifier: int, version: int) -> int | None:
        """Return the document nearest to the vector of a document's version."""
        sort = pb.Sort(vector=self.vector(identifier, version))
        request = pb.FindDocumentsRequest(collection=self.collection, sort=sort, limit=1)
        found = rpc.FindDocuments(request).documents
        return json.loads(found[0].document.json)["_id"] if found else None

    def check_vectors(self, rpc: store_pb2_grpc.StoreServiceStub, found: Mapping[int, int]) -> int:
        """Check that searches find all documents, and none but them, each by its vector; return how many walks missed.

        A walk through a graph may miss a document that is there. A search among one document may not.
        """
        everything = pb.FindDocumentsRequest(collection=self.collection, sort=self._sort(0, 0), limit=len(found) + 10)
        contents = [json.loads(item.document.json) for item in rpc.FindDocuments(everything).documents]
        versions = {content["_id"]: content["first"] for content in contents}
        assert len(versions) == len(contents)
        assert versions.items() <= found.items()
        misses = len(found) - len(versions)
        itself = [
            pb.FindDocumentsRequest(
                collection=self.collection, filter=with_id(number), sort=self._sort(number, found[number]), limit=1
            )
            for number in found
        ]
        nearest = [
            pb.FindDocumentsRequest(collection=self.collection, sort=self._sort(number, found[number]), limit=1)
            for number in found
        ]
        for identifier, answer in zip(found, _together(rpc, itself), strict=True):
            assert [json.loads(item.document.json)["_id"] for item in answer.documents] == [identifier]
            assert answer.documents[0].similarity == 1
        for identifier, answer in zip(found, _together(rpc, nearest), strict=True):
            misses += [json.loads(item.document.json)["_id"] for item in answer.documents] != [identifier]
        assert misses <= (0 if self.exact else 1 - self.recall) * len(found), (misses, len(found))
        return misses

    def _sort(self, identifier: int, version: int) -> pb.Sort:
        return pb.Sort(vector=self.vector(identifier, version))


def _together(
    rpc: store_pb2_grpc.StoreServiceStub, requests: Sequence[pb.FindDocumentsRequest]
) -> Iterator[pb.FindDocumentsResponse]:
    for start in range(0, len(requests), _TOGETHER):
        answer = rpc.FindDocumentsTogether(pb.FindDocumentsTogetherRequest(finds=requests[start : start + _TOGETHER]))
        for outcome in answer.outcomes:
            assert outcome.WhichOneof("outcome") == "found", outcome
            yield outcome.found


class Writer:
    """Inserts, changes and deletes documents of its own until the store dies or `stop` is set.

    `refused` is told of every error of the catalogue; without it such an error fails the test.
    """

    def __init__(
        self,
        rpc: store_pb2_grpc.StoreServiceStub,
        model: Model,
        seed: int,
        stop: threading.Event,
        refused: Callable[[DataApiError], object] | None = None,
    ) -> None:
        self.rpc = rpc
        self.model = model
        self.random = random.Random(seed)
        self.next_id = self.first_id = seed * 1_000_000
        self.stop = stop
        self.refused = refused

    def run(self) -> None:
        """Write until the store dies or the writer is stopped."""
        try:
            while not self.stop.is_set():
                try:
                    self._write()
                except DataApiError as error:
                    if self.refused is None:
                        raise
                    self.refused(error)
                    self.stop.wait(0.01)
        except StoreGoneError:
            pass

    def _write(self) -> None:
        known = self.model.known(range(self.first_id, self.next_id))
        action = self.random.choice(["insert", "insert", "update", "update", "delete"]) if known else "insert"
        if action == "insert":
            first, count = self.next_id, self.random.choice([1, 10])
            self.next_id += count
            self._insert(dict.fromkeys(range(first, first + count), 0))
            return
        identifier = self.random.choice(known)
        (version,) = self.model.versions(identifier)
        assert version is not None
        if action == "update":
            self._update(identifier, version + 1)
        else:
            self._delete(identifier)

    def _insert(self, versions: Mapping[int, int]) -> None:
        documents = [self.model.document(identifier, version) for identifier, version in versions.items()]
        request = pb.InsertDocumentsRequest(collection=self.model.collection, documents=documents)
        with self.model.attempt(versions):
            response = self.rpc.InsertDocuments(request, timeout=_TIMEOUT_SECONDS)
        assert set(response.outcomes) == {pb.INSERT_OUTCOME_INSERTED}

    def _update(self, identifier: int, version: int) -> None:
        text = str(version).encode()
        operations = [
            pb.UpdateOperation(path=pb.Path(segments=["first"]), set=text),
            pb.UpdateOperation(path=pb.Path(segments=["nested", "second"]), set=text),
            pb.UpdateOperation(path=pb.Path(segments=["tag"]), set=f'"{identifier}/{version}"'.encode()),
        ]
        special = pb.SpecialAssignments(vector=pb.Vector(values=self.model.vector(identifier, version)))
        request = pb.UpdateDocumentsRequest(
            collection=self.model.collection,
            filter=with_id(identifier),
            operations=operations,
            specials=[special],
            limit=1,
        )
        with self.model.attempt({identifier: version}):
            response = self.rpc.UpdateDocuments(request, timeout=_TIMEOUT_SECONDS)
        assert (response.matched_count, response.modified_count) == (1, 1)

    def _delete(self, identifier: int) -> None:
        request = pb.DeleteDocumentsRequest(collection=self.model.collection, filter=with_id(identifier), limit=1)
        with self.model.attempt({identifier: None}):
            response = self.rpc.DeleteDocuments(request, timeout=_TIMEOUT_SECONDS)
        assert response.deleted_count == 1


class TidalWriter(Writer):
    """Writes as `Writer` does, to documents that grow in number to a height drawn at random, shrink to another, and
    so on: graphs are built, have their share of tombstones and are given up.
    """

    def __init__(
        self,
        rpc: store_pb2_grpc.StoreServiceStub,
        model: Model,
        seed: int,
        stop: threading.Event,
        most: int,
        next_id: int | None = None,
    ) -> None:
        super().__init__(rpc, model, seed, stop)
        self.most = most
        self.next_id = self.first_id if next_id is None else next_id
        self.height = self.random.randint(0, most)

    def _write(self) -> None:
        known = self.model.known(range(self.first_id, self.next_id))
        while len(known) == self.height:
            self.height = self.random.randint(0, self.most)
        if known and self.random.random() < 0.3:
            identifier = self.random.choice(known)
            (version,) = self.model.versions(identifier)
            assert version is not None
            self._update(identifier, version + 1)
        elif len(known) < self.height:
            first, count = self.next_id, self.random.randint(1, min(20, self.height - len(known)))
            self.next_id += count
            self._insert(dict.fromkeys(range(first, first + count), 0))
        else:
            self._delete(self.random.choice(known))


class Reader:
    """Reads documents by id and by vector while they change, and checks each answer against the model.

    Errors of the catalogue fail the test. `reads` counts the answers.
    """

    def __init__(self, rpc: store_pb2_grpc.StoreServiceStub, model: Model, seed: int, stop: threading.Event) -> None:
        self.rpc = rpc
        self.model = model
        self.random = random.Random(seed)
        self.stop = stop
        self.reads = 0

    def run(self) -> None:
        """Read until the store dies or the reader is stopped."""
        while not self.stop.is_set():
            known = list(self.model.possible)
            if not known:
                self.stop.wait(0.01)
                continue
            try:
                self._read(self.random.choice(known))
            except grpc.RpcError as failure:
                error = error_from_call(failure)
                if error is not None:
                    raise AssertionError(f"a read was refused: {error}") from None
                assert failure.code() in _GONE, failure
                return
            self.reads += 1

    def _read(self, identifier: int) -> None:
        before = self.model.versions(identifier)
        request = pb.FindDocumentsRequest(
            collection=self.model.collection,
            filter=with_id(identifier),
            limit=2,
            projection=pb.Projection(include_vector=True),
        )
        documents = self.rpc.FindDocuments(request, timeout=_TIMEOUT_SECONDS).documents
        after = self.model.versions(identifier)
        assert len(documents) <= 1
        if not documents:
            assert None in before | after, (identifier, before, after)
            return
        _, version = self.model.version_of(documents[0].document)
        # Versions only rise, so what was written meanwhile lies between.
        least = min((number for number in before if number is not None), default=0)
        assert least <= version <= max(number for number in before | after | {version} if number is not None)
        assert version in before | after or least < version, (identifier, version, before, after)
        if self.model.exact and before == after == {version}:
            nearest = self.model.nearest(self.rpc, identifier, version)
            assert nearest == identifier or self.model.versions(identifier) != before


@contextmanager
def running(*workers: Writer | Reader) -> Iterator[list["Future[None]"]]:
    """Run writers and readers, each on a thread of its own; at the end stop them and raise what they raised."""
    with ThreadPoolExecutor(len(workers)) as threads:
        runs = [threads.submit(worker.run) for worker in workers]
        try:
            yield runs
        finally:
            for worker in workers:
                worker.stop.set()
        for run in runs:
            run.result(_TIMEOUT_SECONDS)
