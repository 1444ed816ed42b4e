"""The embedder over gRPC: health, reflection, deadlines, and what it never logs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from orrery.embedder.v1 import embedder_pb2 as pb
from orrery.embedder.v1 import embedder_pb2_grpc

from services.embedder.catalogue import load_catalogue
from services.embedder.minilm import MODEL_NAME
from services.embedder.providers import openai_style
from services.embedder.providers.wire import EmbeddingModel
from services.runtime.rpc import error_from_call
from tests.conftest import FORGIVING, PROVIDER_SECRET
from tests.upstream.server import Upstream

SERVICE = pb.Service(provider="huggingface", model=MODEL_NAME, dimension=384)
SECRETS = pb.RequestSecrets(api_key=PROVIDER_SECRET)
JINA = next(provider for provider in load_catalogue().all() if provider.id == "jinaAI")


class Embedder:
    """An embedder process whose Hugging Face is at a URL, and a channel to it."""

    def __init__(self, folder: Path, url: str, **environment: str) -> None:
        self.address = f"unix:{folder}/e.sock"
        self.log = folder / "log"
        endpoint = url + "/hf-inference/models/{modelId}/pipeline/feature-extraction"
        command = ["-m", "services.cli", "embedder", "--data-dir", str(folder / "data"), "--listen", self.address]
        self.process = subprocess.Popen(
            [sys.executable, *command, "--log-level", "debug"],
            env={**os.environ, "ORRERY_PROVIDER_HUGGINGFACE_URL": endpoint, **FORGIVING, **environment},
            stderr=self.log.open("w"),
        )
        self.channel = grpc.insecure_channel(self.address)
        grpc.channel_ready_future(self.channel).result(timeout=30)
        self.stub: Any = embedder_pb2_grpc.EmbedderServiceStub(self.channel)

    def stop(self) -> int:
        """Stop the process and return its exit status."""
        self.channel.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Embedder]:
    """An embedder in front of the upstream."""
    running = Embedder(tmp_path_factory.mktemp("embedder"), upstream.url)
    yield running
    assert running.stop() == 0


def embed(embedder: Embedder, *texts: str, timeout: float = 30, **changes: Any) -> pb.EmbedResponse:
    """Embed texts with the request's key."""
    given = {"database": "d", "service": SERVICE, "request_secrets": SECRETS, "texts": texts, **changes}
    response: pb.EmbedResponse = embedder.stub.Embed(pb.EmbedRequest(**given), timeout=timeout)
    return response


def code_of(failure: grpc.RpcError) -> str:
    """Return the catalogue's code of a failed call."""
    error = error_from_call(failure)
    assert error is not None
    return error.code


def test_health_and_reflection(embedder: Embedder) -> None:
    health: Any = health_pb2_grpc.HealthStub(embedder.channel)
    for service in ("", "orrery.embedder.v1.EmbedderService", "orrery.embedder.v1.CredentialService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    services = ProtoReflectionDescriptorDatabase(embedder.channel).get_services()
    assert {"orrery.embedder.v1.EmbedderService", "orrery.embedder.v1.CredentialService"} <= set(services)


@pytest.mark.parametrize(
    ("symbol", "known"),
    [
        ("orrery.embedder.v1.EmbedderService", True),
        ("orrery.embedder.v1.EmbedderService.Embed", True),
        ("orrery.embedder.v1.EmbedderService.Nothing", False),
        ("nothing.Here", False),
    ],
)
def test_reflection_finds_services_and_their_methods(embedder: Embedder, symbol: str, known: bool) -> None:
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(embedder.channel)
    (answer,) = stub.ServerReflectionInfo(iter([asked]))

    assert answer.HasField("file_descriptor_response") is known
    assert answer.HasField("error_response") is not known


def test_vectors_are_little_endian_float32_in_the_order_of_the_texts(embedder: Embedder) -> None:
    texts = [f"text {number}" for number in range(40)]
    response = embed(embedder, *texts)
    local = embed(embedder, *texts, service=pb.Service(provider="local", model=MODEL_NAME))

    assert response.dimension == 384
    assert len(response.vectors) == 40 * 384 * 4
    assert np.frombuffer(response.vectors, "<f4") == pytest.approx(np.frombuffer(local.vectors, "<f4"), abs=1e-6)


def test_a_deadline_is_kept(embedder: Embedder, upstream: Upstream) -> None:
    upstream.behave("slow", times=5, seconds=6)
    started = time.monotonic()

    with pytest.raises(grpc.RpcError) as caught:
        embed(embedder, "x", timeout=2)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert code_of(caught.value) == "EMBEDDING_PROVIDER_TIMEOUT"
    assert time.monotonic() - started < 6


def test_a_retry_that_would_pass_the_deadline_is_not_waited_for(embedder: Embedder, upstream: Upstream) -> None:
    upstream.behave("rate_limited", times=5, retry_after=20)

    with pytest.raises(grpc.RpcError) as caught:
        embed(embedder, "x", timeout=10)

    assert code_of(caught.value) == "EMBEDDING_PROVIDER_RATE_LIMITED"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://no-such-host.invalid", "EMBEDDING_PROVIDER_BAD_HOST_NAME"),
        ("http://127.0.0.1:9", "EMBEDDING_PROVIDER_SERVER_ERROR"),
    ],
)
def test_a_host_that_is_not_there_is_told_from_one_that_fails(tmp_path: Path, url: str, code: str) -> None:
    running = Embedder(tmp_path, url)
    try:
        with pytest.raises(grpc.RpcError) as caught:
            embed(running, "x")
        assert code_of(caught.value) == code
    finally:
        running.stop()


def test_an_operators_provider_needs_no_code(tmp_path: Path, upstream: Upstream) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"""
providers:
  - id: in-house
    display_name: In house
    wire: openai
    url: "{upstream.url}/openaiCompatible/v1/embeddings"
    authentication: {{none: true}}
    models: [{{name: my-org/my-model, dimension: 384}}]
"""
    )
    running = Embedder(tmp_path, upstream.url, ORRERY_PROVIDERS_FILE=str(file), ORRERY_ALLOW_PROVIDERS="deterministic")
    try:
        service = pb.Service(provider="in-house", model="my-org/my-model")
        assert embed(running, "x", service=service, request_secrets=None).dimension == 384
        assert embed(running, "x", service=pb.Service(provider="deterministic", model="hash")).dimension == 384
    finally:
        running.stop()


def test_a_base_url_of_a_caller_is_asked_only_if_it_is_allowed(tmp_path: Path, upstream: Upstream) -> None:
    base = f"{upstream.url}/openaiCompatible/v1"
    running = Embedder(tmp_path, upstream.url, ORRERY_ALLOW_BASE_URLS=f"http://gpu:8000, {base}")

    def service(url: str) -> pb.Service:
        parameters = {"baseUrl": pb.ParameterValue(text=url)}
        return pb.Service(provider="openaiCompatible", model="my-org/my-model", dimension=384, parameters=parameters)

    try:
        assert embed(running, "x", service=service(base)).dimension == 384
        with pytest.raises(grpc.RpcError) as caught:
            embed(running, "x", service=service(f"{upstream.url}/v1"))
        assert code_of(caught.value) == "EMBEDDING_REQUEST_ENCODING_ERROR"
        assert len(upstream.requests) == 1
    finally:
        running.stop()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"ORRERY_ALLOW_PROVIDERS": "local, smoke"}, ["ORRERY_ALLOW_PROVIDERS", "'smoke'"]),
        ({"ORRERY_PROVIDER_SMOKE_URL": "http://h"}, ["ORRERY_PROVIDER_SMOKE_URL"]),
        ({"ORRERY_CREDENTIALS_DIR": "/no/such/folder"}, ["ORRERY_CREDENTIALS_DIR", "/no/such/folder", "mount it"]),
        ({"ORRERY_PROVIDERS_FILE": "mine.yaml"}, ["mine.yaml", "'mine'", "models[0].dimension"]),
    ],
)
def test_a_mistake_of_the_operator_ends_the_start_with_its_place(
    tmp_path: Path, variables: dict[str, str], says: list[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(
        "providers: [{id: mine, display_name: M, wire: openai, url: 'http://h', authentication: {}, "
        "models: [{name: m, dimension: many}]}]"
    )
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "embedder", "--data-dir", str(tmp_path / "data")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("orrery: ")
    for part in says:
        assert part in done.stderr


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"service": pb.Service(provider="none", model="m")}, "EMBEDDING_PROVIDER_UNAVAILABLE"),
        ({"service": pb.Service(provider="huggingface", model="m")}, "EMBEDDING_PROVIDER_UNAVAILABLE"),
        ({"request_secrets": pb.RequestSecrets()}, "EMBEDDING_PROVIDER_AUTHENTICATION_KEYS_NOT_PROVIDED"),
        ({"texts": []}, "EMBEDDING_REQUEST_ENCODING_ERROR"),
        ({"request_secrets": pb.RequestSecrets(api_key="clé")}, "EMBEDDING_REQUEST_ENCODING_ERROR"),
    ],
)
def test_a_request_that_cannot_be_sent_has_its_code(embedder: Embedder, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        embed(embedder, "x", **changes)

    assert code_of(caught.value) == code


def test_a_long_message_in_any_script_arrives(embedder: Embedder, upstream: Upstream) -> None:
    upstream.behave("bad_request", message="長" * 3000)

    with pytest.raises(grpc.RpcError) as caught:
        embed(embedder, "x")

    assert code_of(caught.value) == "EMBEDDING_PROVIDER_CLIENT_ERROR"


def test_a_parameter_cannot_stand_for_the_model() -> None:
    model = EmbeddingModel(JINA, JINA.models[-1], 256, {"model": "another", "task": "separation"})

    body = openai_style.request_body(model, ["x"])

    assert body == {"input": ["x"], "model": "jina-embeddings-v3", "task": "separation", "dimensions": 256}


def test_secrets_and_texts_are_in_no_log(embedder: Embedder, upstream: Upstream) -> None:
    text = "a text that nobody else has to know"
    embed(embedder, text)
    upstream.behave("echo_key")
    with pytest.raises(grpc.RpcError):
        embed(embedder, text)

    written = embedder.log.read_text()
    assert '"event": "embedded"' in written
    assert PROVIDER_SECRET not in written
    assert text not in written


def test_fields_that_hold_secrets_say_so() -> None:
    requests = (pb.CreateCredentialRequest, pb.StageSecretRequest)
    fields = [*pb.RequestSecrets.DESCRIPTOR.fields, *(kind.DESCRIPTOR.fields_by_name["secrets"] for kind in requests)]

    assert all(field.GetOptions().debug_redact for field in fields)


def test_a_bulk_job_streams_its_vectors_in_order(embedder: Embedder, upstream: Upstream) -> None:
    texts = [f"bulk text {number}" for number in range(150)]
    request = pb.EmbedRequest(database="d", service=SERVICE, request_secrets=SECRETS, texts=texts)

    parts = list(embedder.stub.EmbedStream(pb.EmbedStreamRequest(embed=request), timeout=60))

    assert [part.first_index for part in parts] == [0, 32, 64, 96, 128]
    vectors = b"".join(part.embedded.vectors for part in parts)
    whole = embed(embedder, *texts, service=pb.Service(provider="local", model=MODEL_NAME))
    assert np.frombuffer(vectors, "<f4") == pytest.approx(np.frombuffer(whole.vectors, "<f4"), abs=1e-6)


def test_a_bulk_job_that_fails_keeps_what_came_before(embedder: Embedder, upstream: Upstream) -> None:
    upstream.refuse("poison")
    texts = [f"bulk text {number}" for number in range(600)]
    texts[590] = "poison"
    request = pb.EmbedRequest(database="d", service=SERVICE, request_secrets=SECRETS, texts=texts)
    came = 0

    with pytest.raises(grpc.RpcError) as caught:
        for part in embedder.stub.EmbedStream(pb.EmbedStreamRequest(embed=request), timeout=60):
            came += len(part.embedded.vectors) // (384 * 4)

    assert code_of(caught.value) == "EMBEDDING_PROVIDER_CLIENT_ERROR"
    assert came >= 32


def test_what_was_used_is_listed_by_key_and_database(embedder: Embedder) -> None:
    embed(embedder, "one", "two", database="accounted")

    listed = embedder.stub.ListUsage(pb.ListUsageRequest()).records
    (record,) = (item for item in listed if item.database == "accounted")
    assert (record.provider, record.key, record.calls, record.texts) == ("huggingface", "", 1, 2)
