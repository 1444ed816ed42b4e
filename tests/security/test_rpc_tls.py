"""Mutual TLS between services: who gets in, who may do what, and certificates that change meanwhile."""

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from orrery.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from orrery.store.v1 import operations_pb2, operations_pb2_grpc, store_pb2, store_pb2_grpc

from services.runtime.rpc import error_from_call
from tests.certificates import Certificates, rpc_variables
from tests.security.conftest import Secured
from tests.services import Gateway, Service, rpc_service

SECONDS = 10
KEYSPACES = store_pb2.ListKeyspacesRequest(database="default")
INSPECT = operations_pb2.InspectDatabaseRequest(database="default")


@contextmanager
def calling(address: str, folder: Path) -> Iterator[grpc.Channel]:
    """A channel that shows the certificate of a folder, and trusts its authority."""
    files = [(folder / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt")]
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(*files)) as channel:
        yield channel


def https(secured: Secured) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=secured.certificates.authority.pem.decode())


def list_keyspaces(channel: grpc.Channel) -> store_pb2.ListKeyspacesResponse:
    return store_pb2_grpc.StoreServiceStub(channel).ListKeyspaces(KEYSPACES, timeout=SECONDS)


def status_of(failure: pytest.ExceptionInfo[grpc.RpcError]) -> grpc.StatusCode:
    return failure.value.code()  # type: ignore[attr-defined]


def test_the_gateway_calls_store_and_embedder(secured: Secured) -> None:
    tls = https(secured)

    created = secured.gateway.post("/v1/default_keyspace", '{"createCollection":{"name":"books"}}', tls)
    providers = secured.gateway.post("/v1", '{"findEmbeddingProviders":{}}', tls)

    assert created == (200, '{"status":{"ok":1}}')
    assert '"huggingface"' in providers[1]


def test_a_caller_without_tls_gets_nothing(secured: Secured) -> None:
    with grpc.insecure_channel(secured.store.address) as channel, pytest.raises(grpc.RpcError) as failure:
        list_keyspaces(channel)
    assert status_of(failure) is grpc.StatusCode.UNAVAILABLE


def test_a_caller_without_a_certificate_gets_nothing(secured: Secured) -> None:
    credentials = grpc.ssl_channel_credentials(secured.certificates.authority.pem)
    with grpc.secure_channel(secured.store.address, credentials) as channel, pytest.raises(grpc.RpcError) as failure:
        list_keyspaces(channel)
    assert status_of(failure) is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_of_another_authority_gets_nothing(secured: Secured, tmp_path: Path) -> None:
    foreign = Certificates(tmp_path).issue("orrery-gateway")
    (foreign / "ca.crt").write_bytes(secured.certificates.authority.pem)
    with calling(secured.store.address, foreign) as channel, pytest.raises(grpc.RpcError) as failure:
        list_keyspaces(channel)
    assert status_of(failure) is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_that_has_ended_gets_nothing(secured: Secured, tmp_path: Path) -> None:
    ended = Certificates(tmp_path, secured.certificates.authority).issue("orrery-gateway", days=0)
    with calling(secured.store.address, ended) as channel, pytest.raises(grpc.RpcError) as failure:
        list_keyspaces(channel)
    assert status_of(failure) is grpc.StatusCode.UNAVAILABLE


def test_a_servers_certificate_is_no_callers(secured: Secured, tmp_path: Path) -> None:
    server = Certificates(tmp_path, secured.certificates.authority).issue("orrery-gateway", client=False)
    with calling(secured.store.address, server) as channel, pytest.raises(grpc.RpcError) as failure:
        list_keyspaces(channel)
    assert status_of(failure) is grpc.StatusCode.UNAVAILABLE


def test_a_caller_that_is_not_listed_is_refused_and_logged(secured: Secured) -> None:
    stranger = secured.certificates.issue("stranger")
    with calling(secured.store.address, stranger) as channel, pytest.raises(grpc.RpcError) as failure:
        list_keyspaces(channel)
    assert status_of(failure) is grpc.StatusCode.PERMISSION_DENIED
    error = error_from_call(failure.value)
    assert error is not None
    assert error.code == "CALLER_NOT_ALLOWED"
    secured.store.logged('"caller": ["stranger", "localhost"], "method": "/orrery.store.v1.StoreService/ListKeyspaces"')


def test_a_caller_does_what_its_rules_name_and_no_more(secured: Secured) -> None:
    ops = secured.certificates.issue("ops", identity="spiffe://example.org/ops")
    with calling(secured.store.address, ops) as channel:
        operations_pb2_grpc.OperationsServiceStub(channel).InspectDatabase(INSPECT, timeout=SECONDS)
        with pytest.raises(grpc.RpcError) as failure:
            list_keyspaces(channel)
        assert status_of(failure) is grpc.StatusCode.PERMISSION_DENIED
        stream = operations_pb2_grpc.OperationsServiceStub(channel).BackupDatabase(
            operations_pb2.BackupDatabaseRequest(database="default", folder="relative"), timeout=SECONDS
        )
        with pytest.raises(grpc.RpcError) as failure:
            list(stream)
        assert status_of(failure) is grpc.StatusCode.FAILED_PRECONDITION


def test_a_stream_is_refused_as_a_call_is(secured: Secured) -> None:
    with calling(secured.store.address, secured.certificates.issue("loader")) as channel:
        stream = operations_pb2_grpc.OperationsServiceStub(channel).BackupDatabase(
            operations_pb2.BackupDatabaseRequest(database="default", folder="/tmp/stolen"), timeout=SECONDS
        )
        with pytest.raises(grpc.RpcError) as failure:
            list(stream)
    assert status_of(failure) is grpc.StatusCode.PERMISSION_DENIED


def test_the_embedder_keeps_to_its_list_too(secured: Secured) -> None:
    request = embedder_pb2.ListCredentialsRequest()
    with calling(secured.embedder.address, secured.certificates.issue("loader")) as channel:
        with pytest.raises(grpc.RpcError) as failure:
            embedder_pb2_grpc.CredentialServiceStub(channel).ListCredentials(request, timeout=SECONDS)
        assert status_of(failure) is grpc.StatusCode.PERMISSION_DENIED
        stream = embedder_pb2_grpc.EmbedderServiceStub(channel).EmbedStream(
            embedder_pb2.EmbedStreamRequest(), timeout=SECONDS
        )
        with pytest.raises(grpc.RpcError) as failure:
            list(stream)
        assert status_of(failure) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("service", ["store", "embedder"])
def test_reflection_is_for_those_who_may_have_it(secured: Secured, service: str) -> None:
    address = getattr(secured, service).address
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    with calling(address, secured.certificates.issue("loader")) as channel, pytest.raises(grpc.RpcError) as failure:
        list(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]), timeout=SECONDS))
    assert status_of(failure) is grpc.StatusCode.PERMISSION_DENIED
    with calling(address, secured.certificates.folder / "orrery-gateway") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (listed,) = stub.ServerReflectionInfo(iter([asked]), timeout=SECONDS)
    assert len(listed.list_services_response.service) >= 4


def test_health_is_open_to_every_certificate_and_to_probes_without_any(secured: Secured) -> None:
    check = health_pb2.HealthCheckRequest()
    with calling(secured.store.address, secured.certificates.issue("stranger")) as channel:
        secure = health_pb2_grpc.HealthStub(channel).Check(check, timeout=SECONDS)
    with grpc.insecure_channel(secured.health) as channel:
        plain = health_pb2_grpc.HealthStub(channel).Check(check, timeout=SECONDS)
        with pytest.raises(grpc.RpcError) as failure:
            list_keyspaces(channel)
    assert secure.status == plain.status == health_pb2.HealthCheckResponse.SERVING
    assert status_of(failure) is grpc.StatusCode.UNIMPLEMENTED


def test_a_server_with_another_name_is_not_called(secured: Secured, tmp_path: Path) -> None:
    """An impostor that has a certificate of the same authority, for another host."""
    impostor = Certificates(tmp_path, secured.certificates.authority)
    impostor.authority.issue(impostor.folder / "other", ("other.example.org",))
    environment = {**rpc_variables(impostor.folder / "other"), "ORRERY_RPC_CALLERS": "orrery-gateway=*"}
    gateway = secured.certificates.folder / "orrery-gateway"
    with (
        rpc_service("store", tmp_path, environment=environment) as service,
        calling(service.address, gateway) as channel,
        pytest.raises(grpc.RpcError) as failure,
    ):
        list_keyspaces(channel)
    assert status_of(failure) is grpc.StatusCode.UNAVAILABLE


def test_tls_without_a_list_of_callers_does_not_start(tmp_path: Path) -> None:
    environment = Certificates(tmp_path).rpc("orrery-store")
    with Service("store", tmp_path, "--data-dir", str(tmp_path / "data"), environment=environment) as service:
        assert service.wait() == 1
    assert "orrery: ORRERY_RPC_CALLERS is needed with TLS" in service.log.read_text()


@pytest.mark.parametrize("service", ["store", "embedder"])
def test_without_tls_the_network_is_not_listened_on(tmp_path: Path, service: str) -> None:
    with Service(service, tmp_path, "--data-dir", str(tmp_path / "data"), "--listen", "0.0.0.0:0") as started:
        assert started.wait() == 1
    assert "RPCs carry no authentication without TLS" in started.log.read_text()


def test_commands_call_with_certificates_too(secured: Secured) -> None:
    ops = secured.certificates.issue("ops", identity="spiffe://example.org/ops")
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "stats", "--store", secured.store.address],
        env={**os.environ, **rpc_variables(ops)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_audit_logs_name_the_callers_certificate(secured: Secured) -> None:
    key = embedder_pb2.CreateCredentialRequest(
        provider="jinaAI", name="audited", secrets={"providerKey": "s"}, databases=["default"]
    )
    keyspace = store_pb2.CreateKeyspaceRequest(database="audited", keyspace="k")
    gateway = secured.certificates.issue("orrery-gateway")
    with calling(secured.store.address, gateway) as store, calling(secured.embedder.address, gateway) as embedder:
        store_pb2_grpc.StoreServiceStub(store).CreateKeyspace(keyspace, timeout=SECONDS)
        embedder_pb2_grpc.CredentialServiceStub(embedder).CreateCredential(key, timeout=SECONDS)

    logs = [path.read_text().splitlines() for path in secured.folder.rglob("audit.log")]
    entries = [json.loads(line) for log in logs for line in log]
    who = {entry["what"]: entry["who"] for entry in entries if "audited" in (entry.get("database"), entry.get("name"))}
    assert set(who) == {"database created", "created"}
    assert all("orrery-gateway" in name.split() for name in who.values())


def test_callers_of_the_gateway_learn_nothing_of_what_is_wrong_between_services(tmp_path: Path) -> None:
    """The embedder does not list the gateway, and then shows the certificate of another authority."""
    certificates = Certificates(tmp_path / "files")
    of_gateway = certificates.rpc("orrery-gateway")
    of_embedder = certificates.rpc("orrery-embedder", callers="somebody-else=*")
    store = f"unix:{tmp_path}/run/s"
    with (
        Service("store", tmp_path, "--data-dir", str(tmp_path / "store"), "--listen", store),
        rpc_service("embedder", tmp_path, environment=of_embedder) as embedder,
        Gateway(tmp_path, store=store, embedder=embedder.address, environment=of_gateway) as gateway,
    ):
        status, answer = gateway.post("/v1", '{"findEmbeddingProviders":{}}')
        assert status == 200
        assert "EMBEDDING_GATEWAY_NOT_AVAILABLE" in answer
        assert not [word for word in ("CALLER", "orrery-", "localhost", "127.0.0.1", "certificate") if word in answer]
        embedder.logged('"event": "call refused"')
        gateway.logged('"event": "call failed"')


def test_certificates_and_authority_change_without_a_restart_and_without_a_failed_request(tmp_path: Path) -> None:
    """First everybody trusts both authorities, then certificates are of the new one, then only that is trusted."""
    old, new = Certificates(tmp_path / "files"), Certificates(tmp_path / "files")
    both = old.authority.pem + new.authority.pem
    callers = "orrery-gateway=*"
    of_store = old.rpc("orrery-store", callers=callers)
    of_embedder = old.rpc("orrery-embedder", callers=callers)
    names = ("orrery-store", "orrery-embedder", "orrery-gateway")
    with (
        rpc_service("store", tmp_path, environment=of_store) as store,
        rpc_service("embedder", tmp_path, environment=of_embedder) as embedder,
        Gateway(
            tmp_path, store=store.address, embedder=embedder.address, environment=old.rpc("orrery-gateway")
        ) as gateway,
    ):
        outsider = old.issue("outsider")
        for step in ("trust both", "show new", "trust new"):
            for name in names:
                if step == "show new":
                    new.issue(name)
                (old.folder / name / "ca.crt").write_bytes(new.authority.pem if step == "trust new" else both)
            # Files are looked at once a second.
            deadline = time.monotonic() + 2.5
            while time.monotonic() < deadline:
                assert gateway.post("/v1", '{"findKeyspaces":{}}')[0] == 200
                assert '"errors"' not in gateway.post("/v1", '{"findEmbeddingProviders":{}}')[1]
        assert gateway.log.read_text().count("channel made anew") >= 4
        with calling(store.address, outsider) as channel, pytest.raises(grpc.RpcError) as failure:
            list_keyspaces(channel)
        assert status_of(failure) is grpc.StatusCode.UNAVAILABLE
        with calling(store.address, new.folder / "orrery-gateway") as channel:
            list_keyspaces(channel)
