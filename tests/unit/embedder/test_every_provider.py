"""Every provider over HTTP, good and bad, through the embedder's RPC. The upstream checks each request strictly."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from orrery.embedder.v1 import embedder_pb2 as pb
from orrery.embedder.v1 import embedder_pb2_grpc

from services.runtime.rpc import error_from_call
from tests.conftest import FORGIVING, PROVIDER_SECRET
from tests.upstream.formats import FORMATS
from tests.upstream.providers import SERVICES, request_secrets
from tests.upstream.server import Upstream, embed

#: How long a request of these tests may take.
READ_SECONDS = 0.8
TEXTS = ["a desert planet with giant worms", "a clever young woman makes matches", "a whale and a captain's revenge"]


@contextmanager
def running(folder: Path, upstream: Upstream, **environment: str) -> Iterator[Any]:
    """The RPCs of an embedder whose every provider is the upstream."""
    command = ["-m", "services.cli", "embedder", "--data-dir", str(folder), "--listen", f"unix:{folder}/e.sock"]
    variables = {**os.environ, **upstream.environment(), **FORGIVING, **environment}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, *command], env=variables, stderr=log)
    with grpc.insecure_channel(f"unix:{folder}/e.sock") as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
        yield embedder_pb2_grpc.EmbedderServiceStub(channel)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert PROVIDER_SECRET not in (folder / "log").read_text()


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Any]:
    """An embedder that is patient, and tries twice."""
    attempts = {"ORRERY_EMBEDDER_REQUESTS_ATTEMPTS": "2"}
    with running(tmp_path_factory.mktemp("providers"), upstream, **attempts) as stub:
        yield stub


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Any]:
    """An embedder that does not wait long for an answer."""
    seconds = {"ORRERY_EMBEDDER_REQUESTS_READ_SECONDS": str(READ_SECONDS)}
    with running(tmp_path_factory.mktemp("hasty"), upstream, **seconds) as stub:
        yield stub


def call(stub: Any, provider: str, *texts: str, search: bool = False, **changes: Any) -> Any:
    """Embed texts with the provider's key in the request."""
    given = {
        "database": "d",
        "service": SERVICES[provider].message(),
        "request_secrets": request_secrets(provider, PROVIDER_SECRET),
        "input_type": pb.INPUT_TYPE_SEARCH if search else pb.INPUT_TYPE_INDEX,
        "texts": texts,
        **changes,
    }
    return stub.Embed(pb.EmbedRequest(**given), timeout=30)


def code_and_message(stub: Any, provider: str, *texts: str, **changes: Any) -> tuple[str, str]:
    """Return code and message of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call(stub, provider, *(texts or ("x",)), **changes)
    error = error_from_call(caught.value)
    assert error is not None
    return error.code, error.message


@pytest.mark.parametrize("search", [False, True], ids=["documents", "query"])
@pytest.mark.parametrize("provider", FORMATS)
def test_texts_become_vectors_in_their_order(stub: Any, provider: str, search: bool) -> None:
    response = call(stub, provider, *TEXTS, search=search)

    dimension = SERVICES[provider].vector
    assert response.dimension == dimension
    vectors = np.frombuffer(response.vectors, "<f4").reshape(3, dimension)
    assert vectors == pytest.approx(np.array(embed(TEXTS, dimension)), abs=1e-6)
    assert (response.usage.total_tokens > 0) == (provider not in ("huggingface", "tei"))


@pytest.mark.parametrize(
    ("provider", "model", "dimension", "requests"),
    [
        ("cohere", "embed-v4.0", 512, 1),
        ("vertexai", "text-embedding-005", 128, 1),
        ("vertexai", "gemini-embedding-001", 3072, 3),
        ("nvidia", "nvidia/nv-embedqa-e5-v5", 1024, 1),
        ("bedrock", "amazon.titan-embed-text-v1", 1536, 3),
        ("openaiCompatible", "my-org/my-model", 384, 1),
    ],
)
def test_other_models_with_ways_of_their_own(
    stub: Any, provider: str, model: str, dimension: int, requests: int, upstream: Upstream
) -> None:
    response = call(stub, provider, *TEXTS, service=SERVICES[provider].of(model, dimension).message())

    assert (response.dimension, len(upstream.requests)) == (dimension, requests)


@pytest.mark.parametrize("provider", FORMATS)
def test_one_text_becomes_one_vector(stub: Any, provider: str) -> None:
    response = call(stub, provider, TEXTS[0])

    assert len(response.vectors) == 4 * SERVICES[provider].vector


@pytest.mark.parametrize("provider", FORMATS)
def test_more_texts_than_a_request_takes_are_cut_into_batches(stub: Any, provider: str, upstream: Upstream) -> None:
    batch = FORMATS[provider].batch
    texts = [f"text {number}" for number in range(2 * batch + 1 if batch < 200 else 10)]

    response = call(stub, provider, *texts)

    assert len(response.vectors) == 4 * SERVICES[provider].vector * len(texts)
    assert len(upstream.requests) == (3 if batch < 200 else 1)


@pytest.mark.parametrize("provider", FORMATS)
def test_a_wrong_key_is_told_and_not_shown(stub: Any, provider: str) -> None:
    code, message = code_and_message(stub, provider, request_secrets=request_secrets(provider, "wrong-key-5d1"))

    assert code == "EMBEDDING_PROVIDER_CLIENT_ERROR"
    assert provider in message
    assert "wrong-key-5d1" not in message
    assert "HTTP status 40" in message
    assert "Check the key" in message


@pytest.mark.parametrize("provider", FORMATS)
def test_what_a_provider_says_is_passed_on_alone(stub: Any, provider: str, upstream: Upstream) -> None:
    upstream.behave("bad_request", message="text 3 is odd")

    code, message = code_and_message(stub, provider)

    assert code == "EMBEDDING_PROVIDER_CLIENT_ERROR"
    assert message.endswith("(HTTP status 400) and said: text 3 is odd")


BAD = [
    ("rate_limited", {"retry_after": 3600}, "EMBEDDING_PROVIDER_RATE_LIMITED"),
    ("rate_limited", {}, "EMBEDDING_PROVIDER_RATE_LIMITED"),
    ("cut_off", {}, "EMBEDDING_PROVIDER_SERVER_ERROR"),
    ("gateway_timeout", {}, "EMBEDDING_PROVIDER_TIMEOUT"),
    ("not_finite", {}, "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE"),
    ("failing", {}, "EMBEDDING_PROVIDER_SERVER_ERROR"),
    ("not_json", {}, "EMBEDDING_RESPONSE_DECODING_ERROR"),
    ("empty", {}, "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE"),
    ("error_with_200", {}, "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE"),
    ("wrong_count", {}, "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE"),
    ("wrong_dimension", {}, "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE"),
    ("not_numbers", {}, "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE"),
]


@pytest.mark.parametrize(
    ("behaviour", "details", "code"), BAD, ids=[f"{item[0]}{'_asked' if item[1] else ''}" for item in BAD]
)
@pytest.mark.parametrize("provider", FORMATS)
def test_a_bad_answer_has_its_code(
    stub: Any, provider: str, upstream: Upstream, behaviour: str, details: dict[str, Any], code: str
) -> None:
    upstream.behave(behaviour, times=10, **details)

    found, message = code_and_message(stub, provider)

    # An error body that says its status under HTTP 200 is taken at its word.
    says_status = behaviour == "error_with_200" and provider == "vertexai"
    assert found == ("EMBEDDING_PROVIDER_CLIENT_ERROR" if says_status else code)
    assert provider in message
    if behaviour == "error_with_200":
        assert "quota exceeded" in message


@pytest.mark.parametrize("provider", FORMATS)
def test_a_provider_that_stalls_is_asked_again(hasty: Any, provider: str, upstream: Upstream) -> None:
    upstream.behave("slow", seconds=2 * READ_SECONDS)

    assert len(call(hasty, provider, "x").vectors) > 0
    # Servers of one's own may take their time.
    patient = provider in ("ollama", "tei", "openaiCompatible")
    assert len(upstream.requests) == (1 if patient else 2)


@pytest.mark.parametrize("provider", FORMATS)
def test_a_provider_that_recovers_is_asked_again(stub: Any, provider: str, upstream: Upstream) -> None:
    upstream.behave("rate_limited", retry_after=0)

    assert len(call(stub, provider, "x").vectors) > 0
    assert len(upstream.requests) == 2


# --- documents and queries ----------------------------------------------------

PURPOSES = [
    ("cohere", {}, ("input_type", "search_document"), ("input_type", "search_query")),
    ("voyageAI", {}, ("input_type", "document"), ("input_type", "query")),
    ("nvidia", {}, ("input_type", "passage"), ("input_type", "query")),
    ("upstageAI", {}, ("model", "solar-embedding-1-large-passage"), ("model", "solar-embedding-1-large-query")),
    (
        "vertexai",
        {},
        ("instances", [{"task_type": "RETRIEVAL_DOCUMENT", "content": "x"}]),
        ("instances", [{"task_type": "RETRIEVAL_QUERY", "content": "x"}]),
    ),
    (
        "tei",
        {"promptNameIndex": "passage", "promptNameSearch": "query"},
        ("prompt_name", "passage"),
        ("prompt_name", "query"),
    ),
    ("jinaAI", {"asymmetric": True}, ("task", "retrieval.passage"), ("task", "retrieval.query")),
    ("jinaAI", {"asymmetric": False}, ("task", None), ("task", None)),
    ("huggingface", {"asymmetric": True}, ("inputs", ["passage: x"]), ("inputs", ["query: x"])),
    ("huggingface", {}, ("inputs", ["x"]), ("inputs", ["x"])),
]


@pytest.mark.parametrize(("provider", "parameters", "document", "query"), PURPOSES)
def test_documents_are_told_from_queries(
    stub: Any,
    provider: str,
    upstream: Upstream,
    parameters: dict[str, Any],
    document: tuple[str, Any],
    query: tuple[str, Any],
) -> None:
    service = SERVICES[provider]
    if provider == "huggingface":
        service = service.of("intfloat/multilingual-e5-large", 1024)
    message = service.message(**parameters)

    call(stub, provider, "x", service=message)
    call(stub, provider, "x", service=message, search=True)

    for (member, value), request in zip((document, query), upstream.requests, strict=True):
        assert request["body"].get(member) == value


def test_parameters_become_headers(stub: Any, upstream: Upstream) -> None:
    call(stub, "openai", "x", service=SERVICES["openai"].message(organizationId="org-1", projectId="p-1"))

    (request,) = upstream.requests
    assert (request["headers"]["openai-organization"], request["headers"]["openai-project"]) == ("org-1", "p-1")
    assert request["body"].keys() == {"input", "model", "dimensions", "encoding_format"}


def test_a_header_cannot_be_broken_out_of(stub: Any) -> None:
    service = SERVICES["openai"].message(organizationId="a\r\nAuthorization: x")

    assert code_and_message(stub, "openai", service=service)[0] == "EMBEDDING_REQUEST_ENCODING_ERROR"


@pytest.mark.parametrize(
    ("provider", "parameters", "member"),
    [
        ("voyageAI", {"autoTruncate": False}, ("truncation", False)),
        ("vertexai", {"autoTruncate": False}, ("parameters", {"autoTruncate": False})),
        ("openaiCompatible", {"sendDimensions": True}, ("dimensions", 384)),
        ("openaiCompatible", {}, ("dimensions", None)),
        ("mistral", {}, ("encoding_format", "float")),
        ("bedrock", {}, ("dimensions", 512)),
    ],
)
def test_parameters_become_members(
    stub: Any, provider: str, upstream: Upstream, parameters: dict[str, Any], member: tuple[str, Any]
) -> None:
    call(stub, provider, "x", service=SERVICES[provider].message(**parameters))

    assert upstream.requests[0]["body"].get(member[0]) == member[1]


def test_half_a_key_is_named(stub: Any) -> None:
    secrets = pb.RequestSecrets(access_id="AKIA")

    code, message = code_and_message(stub, "bedrock", request_secrets=secrets)

    assert code == "EMBEDDING_PROVIDER_AUTHENTICATION_KEYS_NOT_PROVIDED"
    assert "x-embedding-secret-id" in message
    assert "x-embedding-access-id" not in message
