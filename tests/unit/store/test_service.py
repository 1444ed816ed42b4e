"""The service over gRPC: every RPC once, and errors that arrive as they were raised."""

from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest
from orrery.store.v1 import store_pb2 as pb
from orrery.store.v1 import store_pb2_grpc

from services.runtime.rpc import ErrorInterceptor, error_from_call
from services.runtime.rpc_observation import CallObserver
from services.store.engine import Engine
from services.store.find_sessions import FindSessions
from services.store.service import StoreServicer


@pytest.fixture
def stub(engine: Engine, tmp_path: Path) -> Iterator[store_pb2_grpc.StoreServiceStub]:
    server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=[ErrorInterceptor()])
    sessions = FindSessions(engine, CallObserver(engine.metrics.calls))
    store_pb2_grpc.add_StoreServiceServicer_to_server(StoreServicer(engine, sessions), server)
    server.add_insecure_port(f"unix:{tmp_path}/s")
    server.start()
    with grpc.insecure_channel(f"unix:{tmp_path}/s") as channel:
        yield store_pb2_grpc.StoreServiceStub(channel)
    server.stop(None).wait()


NAME = pb.CollectionRef(database="d", keyspace="k", name="c")
SETTINGS = pb.CollectionSettings(vector=pb.VectorSettings(dimension=2, metric=pb.METRIC_COSINE))


def create(stub: store_pb2_grpc.StoreServiceStub) -> pb.Collection:
    request = pb.CreateCollectionRequest(database="d", keyspace="k", name="c", settings=SETTINGS, attributes=b"x")
    return stub.CreateCollection(request).collection


def document(number: int) -> pb.Document:
    values = np.array([1, number], "<f4").tobytes()
    return pb.Document(json=b'{"_id":%d,"n":%d}' % (number, number), vector=pb.Vector(values=values))


def insert(stub: store_pb2_grpc.StoreServiceStub, *numbers: int) -> pb.InsertDocumentsResponse:
    documents = [document(number) for number in numbers]
    return stub.InsertDocuments(pb.InsertDocumentsRequest(collection=NAME, documents=documents, ordered=True))


def n_is(number: int) -> pb.Filter:
    value = pb.Value(number=str(number))
    return pb.Filter(condition=pb.Condition(path=pb.Path(segments=["n"]), equals=value))


def test_keyspaces(stub: store_pb2_grpc.StoreServiceStub) -> None:
    stub.CreateKeyspace(pb.CreateKeyspaceRequest(database="d", keyspace="other"))
    assert stub.ListKeyspaces(pb.ListKeyspacesRequest(database="d")).keyspaces == ["k", "other"]
    stub.DropKeyspace(pb.DropKeyspaceRequest(database="d", keyspace="k"))
    assert stub.ListKeyspaces(pb.ListKeyspacesRequest(database="d")).keyspaces == ["other"]


def test_collections(stub: store_pb2_grpc.StoreServiceStub) -> None:
    made = create(stub)

    assert create(stub) == made
    assert stub.GetCollection(pb.GetCollectionRequest(collection=NAME)).collection == made
    assert stub.ListCollections(pb.ListCollectionsRequest(database="d", keyspace="k")).collections == [made]
    stub.DropCollection(pb.DropCollectionRequest(collection=NAME))
    assert not stub.ListCollections(pb.ListCollectionsRequest(database="d", keyspace="k")).collections


def test_documents_are_inserted_found_counted_and_paged(stub: store_pb2_grpc.StoreServiceStub) -> None:
    create(stub)
    outcomes = insert(stub, 0, 1, 2, 1, 3).outcomes

    assert outcomes == [1, 1, 1, 2, 3]
    first = stub.FindDocuments(pb.FindDocumentsRequest(collection=NAME, limit=2))
    rest = stub.FindDocuments(pb.FindDocumentsRequest(collection=NAME, limit=2, after=first.next_after))
    assert [item.document.json for item in (*first.documents, *rest.documents)] == [
        document(number).json for number in range(3)
    ]
    assert not rest.HasField("next_after")
    assert stub.CountDocuments(pb.CountDocumentsRequest(collection=NAME, filter=n_is(1))).count == 1
    statistics = stub.GetCollectionStatistics(pb.GetCollectionStatisticsRequest(collection=NAME))
    assert (statistics.documents, statistics.vectors) == (3, 3)


def test_documents_are_found_by_vector(stub: store_pb2_grpc.StoreServiceStub) -> None:
    create(stub)
    insert(stub, 0, 1, 2)
    sort = pb.Sort(vector=np.array([1, 0], "<f4").tobytes())
    projection = pb.Projection(include_vector=True)

    found = stub.FindDocuments(pb.FindDocumentsRequest(collection=NAME, sort=sort, limit=1, projection=projection))

    assert found.documents[0].document == document(0)
    assert found.documents[0].similarity == 1.0


def test_documents_are_changed_replaced_and_deleted(stub: store_pb2_grpc.StoreServiceStub) -> None:
    create(stub)
    insert(stub, 0, 1, 2)
    add_ten = pb.UpdateOperation(path=pb.Path(segments=["n"]), increment="10")

    updated = stub.UpdateDocuments(pb.UpdateDocumentsRequest(collection=NAME, operations=[add_ten], limit=2))
    replaced = stub.ReplaceDocument(
        pb.ReplaceDocumentRequest(
            collection=NAME,
            filter=n_is(2),
            replacement=pb.Document(json=b'{"m":1}'),
            return_image=pb.RETURN_IMAGE_AFTER,
        )
    )
    deleted = stub.DeleteDocuments(
        pb.DeleteDocumentsRequest(collection=NAME, filter=n_is(11), limit=1, return_image=True)
    )

    assert (updated.matched_count, updated.modified_count, updated.next_after) == (2, 2, 2)
    assert replaced.image.document.json == b'{"_id":2,"m":1}'
    assert (deleted.deleted_count, deleted.more, deleted.image.document.json) == (1, False, b'{"_id":1,"n":11}')
    stub.TruncateCollection(pb.TruncateCollectionRequest(collection=NAME))
    assert stub.CountDocuments(pb.CountDocumentsRequest(collection=NAME)).count == 0


def test_an_error_arrives_with_its_code_and_details(stub: store_pb2_grpc.StoreServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        stub.GetCollection(pb.GetCollectionRequest(collection=NAME))

    error = error_from_call(failed.value)
    assert error is not None
    assert error.code == "UNKNOWN_COLLECTION_OR_TABLE"
    assert error.details == {"collection": "c", "keyspace": "k", "known": ""}


def test_another_collection_of_the_name_is_refused(stub: store_pb2_grpc.StoreServiceStub) -> None:
    create(stub)
    old = pb.CollectionRef(database="d", keyspace="k", name="c", uid="old")

    with pytest.raises(grpc.RpcError) as failed:
        stub.CountDocuments(pb.CountDocumentsRequest(collection=old))

    error = error_from_call(failed.value)
    assert error is not None
    assert error.code == "COLLECTION_CHANGED"
