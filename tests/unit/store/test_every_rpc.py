"""Every RPC of the contract is answered by the servicer, without a network in between."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc_testing
import pytest
from orrery.store.v1 import store_pb2 as pb

from services.store.engine import Engine
from services.store.service import StoreServicer

CONTRACT = pb.DESCRIPTOR.services_by_name["StoreService"]
PLACE = {"database": "d", "keyspace": "k"}
COLLECTION = pb.CollectionRef(database="d", keyspace="k", name="c")
DOCUMENT = pb.Document(json=b'{"_id":1}')

#: A request for each RPC, in an order in which every one finds what it needs.
REQUESTS: dict[str, Any] = {
    "CreateKeyspace": pb.CreateKeyspaceRequest(**PLACE),
    "ListKeyspaces": pb.ListKeyspacesRequest(database="d"),
    "CreateCollection": pb.CreateCollectionRequest(**PLACE, name="c"),
    "ListCollections": pb.ListCollectionsRequest(**PLACE),
    "GetCollection": pb.GetCollectionRequest(collection=COLLECTION),
    "InsertDocuments": pb.InsertDocumentsRequest(collection=COLLECTION, documents=[DOCUMENT]),
    "FindDocuments": pb.FindDocumentsRequest(collection=COLLECTION, limit=1),
    "FindDocumentsTogether": pb.FindDocumentsTogetherRequest(finds=[pb.FindDocumentsRequest(collection=COLLECTION)]),
    "StreamDocuments": pb.StreamDocumentsRequest(collection=COLLECTION),
    "CountDocuments": pb.CountDocumentsRequest(collection=COLLECTION),
    "GetCollectionStatistics": pb.GetCollectionStatisticsRequest(collection=COLLECTION),
    "UpdateDocuments": pb.UpdateDocumentsRequest(collection=COLLECTION, limit=1),
    "ReplaceDocument": pb.ReplaceDocumentRequest(collection=COLLECTION, replacement=pb.Document(json=b"{}")),
    "DeleteDocuments": pb.DeleteDocumentsRequest(collection=COLLECTION, limit=1),
    "TruncateCollection": pb.TruncateCollectionRequest(collection=COLLECTION),
    "DropCollection": pb.DropCollectionRequest(collection=COLLECTION),
    "DropKeyspace": pb.DropKeyspaceRequest(**PLACE),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """The servicer on grpc's testing server."""
    engine = Engine(tmp_path)
    yield grpc_testing.server_from_dictionary({CONTRACT: StoreServicer(engine)}, grpc_testing.strict_real_time())
    engine.close()


def test_every_rpc_is_answered(server: Any) -> None:
    assert set(REQUESTS) == {method.name for method in CONTRACT.methods}

    for name, request in REQUESTS.items():
        method = CONTRACT.methods_by_name[name]
        if method.server_streaming:
            call = server.invoke_unary_stream(method, (), request, 30)
            response = call.take_response()
            _, code, details = call.termination()
        else:
            response, _, code, details = server.invoke_unary_unary(method, (), request, 30).termination()
        assert code is grpc.StatusCode.OK, (name, details)
        assert response.DESCRIPTOR is method.output_type
