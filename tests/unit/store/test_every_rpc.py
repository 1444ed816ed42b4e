"""Every RPC of the contracts is answered by its servicer, without a network in between."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc_testing
import pytest
from orrery.store.v1 import access_pb2
from orrery.store.v1 import store_pb2 as pb

from services.runtime.rpc_observation import CallObserver
from services.store.access import Access
from services.store.access_service import AccessServicer
from services.store.engine import Engine
from services.store.find_sessions import FindSessions
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
    "FindDocumentsInTurn": pb.FindDocumentsInTurnRequest(find=pb.FindDocumentsRequest(collection=COLLECTION)),
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
ACCESS_CONTRACT = access_pb2.DESCRIPTOR.services_by_name["AccessService"]
ACCESS_REQUESTS: dict[str, Any] = {
    "CreateDatabase": access_pb2.CreateDatabaseRequest(name="shop"),
    "ListDatabases": access_pb2.ListDatabasesRequest(),
    "CreateToken": access_pb2.CreateTokenRequest(name="t", role=access_pb2.ROLE_READ, databases=["shop"]),
    "ListTokens": access_pb2.ListTokensRequest(),
    "ListAccess": access_pb2.ListAccessRequest(),
    "DropDatabase": access_pb2.DropDatabaseRequest(name="shop"),
    "FinishDrop": access_pb2.FinishDropRequest(id="none"),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """The servicers on grpc's testing server."""
    engine = Engine(tmp_path)
    servicers = {
        CONTRACT: StoreServicer(engine, FindSessions(engine, CallObserver(engine.metrics.calls)), lambda _: "test"),
        ACCESS_CONTRACT: AccessServicer(Access(engine), lambda _: "test"),
    }
    yield grpc_testing.server_from_dictionary(servicers, grpc_testing.strict_real_time())
    engine.close()


def answered(server: Any, method: Any, request: Any) -> Any:
    """Return the response to a request."""
    if method.client_streaming:
        call = server.invoke_stream_stream(method, (), 30)
        call.send_request(request)
        response = call.take_response()
        call.requests_closed()
        _, code, details = call.termination()
    elif method.server_streaming:
        call = server.invoke_unary_stream(method, (), request, 30)
        response = call.take_response()
        _, code, details = call.termination()
    else:
        response, _, code, details = server.invoke_unary_unary(method, (), request, 30).termination()
    assert code is grpc.StatusCode.OK, (method.name, details)
    assert response.DESCRIPTOR is method.output_type
    return response


def test_every_rpc_is_answered(server: Any) -> None:
    assert set(REQUESTS) == {method.name for method in CONTRACT.methods}

    for name, request in REQUESTS.items():
        answered(server, CONTRACT.methods_by_name[name], request)


def test_a_keyspace_that_makes_its_database_is_audited_with_who_called(server: Any, tmp_path: Path) -> None:
    answered(server, CONTRACT.methods_by_name["CreateKeyspace"], pb.CreateKeyspaceRequest(database="new", keyspace="k"))

    (entry,) = map(json.loads, (tmp_path / "audit.log").read_text().splitlines())
    assert (entry["what"], entry["database"], entry["who"]) == ("database created", "new", "test")


def test_every_rpc_of_databases_and_tokens_is_answered(server: Any) -> None:
    assert {*ACCESS_REQUESTS, "RevokeToken"} == {method.name for method in ACCESS_CONTRACT.methods}

    answers = {
        name: answered(server, ACCESS_CONTRACT.methods_by_name[name], request)
        for name, request in ACCESS_REQUESTS.items()
    }

    made, listed = answers["CreateToken"], answers["ListAccess"]
    assert listed.tokens[0].token == made.token == answers["ListTokens"].tokens[0]
    assert answers["DropDatabase"].revoked_tokens[0] == made.token
    assert made.secret.encode() not in listed.SerializeToString()
    assert [keyspace.name for keyspace in answers["ListDatabases"].databases[0].keyspaces] == ["default_keyspace"]
    again = answered(
        server,
        ACCESS_CONTRACT.methods_by_name["CreateToken"],
        access_pb2.CreateTokenRequest(name="t", role=access_pb2.ROLE_ADMIN, all_databases=True),
    )
    revoke = ACCESS_CONTRACT.methods_by_name["RevokeToken"]
    answered(server, revoke, access_pb2.RevokeTokenRequest(id=again.token.id))
