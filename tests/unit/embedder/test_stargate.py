"""The reference's embedding-gateway interface, called with stubs that were not made from our file for it."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from stargate import embedding_gateway_pb2, embedding_gateway_pb2_grpc

from services.embedder.calls import EmbedCall
from services.embedder.catalogue import CatalogueSettings, load_catalogue
from services.embedder.credentials import CredentialStore
from services.embedder.minilm import MODEL_NAME
from services.embedder.providers.wire import Answer
from services.embedder.secret import Secret
from services.embedder.settings import RequestSettings
from services.embedder.stargate import StargateServicer
from services.runtime.addresses import socket_address
from services.runtime.errors import DataApiError
from services.runtime.servers import serve_async
from tests.conftest import PROVIDER_SECRET
from tests.live import Orrery
from tests.stargate_contract import Stub, described, facts
from tests.upstream.server import Upstream
from tests.upstream.signatures import AWS_ACCESS_ID

NAME = "stargate.EmbeddingService"
#: What the Data API sends with every request; it opens that API and nothing else.
DATA_API_TOKEN = "data-api-5d7f02"
MASTER_KEY = Secret("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")


@pytest.fixture(scope="module")
def channel(orrery: Orrery) -> Iterator[grpc.Channel]:
    """A channel to the embedder of a live Orrery."""
    with grpc.insecure_channel(socket_address(orrery.data_dir, "embedder")) as opened:
        yield opened


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> Stub:
    """A client of it."""
    return Stub(channel)


def embed(
    stub: Stub,
    *texts: str,
    provider: str = "huggingface",
    model: str = MODEL_NAME,
    tokens: dict[str, str] | None = None,
    tenant: str = "default",
    timeout: float | None = 30,
    **more: Any,
) -> Any:
    """Embed texts as the reference does; by default with a key of the request."""
    given = {"EMBEDDING_API_KEY": PROVIDER_SECRET} if tokens is None else tokens
    return stub.call(
        "Embed",
        timeout=timeout,
        provider_context={
            "provider_name": provider,
            "tenant_id": tenant,
            "auth_tokens": {"DATA_API_TOKEN": DATA_API_TOKEN, **given},
        },
        embedding_request={"model_name": model, "command_name": "insertMany", "inputs": texts, **more},
    )


def vectors(response: Any) -> np.ndarray:
    """Return the vectors of a response that has no error."""
    assert not response.HasField("error"), response.error
    assert [item.index for item in response.embeddings] == list(range(len(response.embeddings)))
    return np.array([item.embedding for item in response.embeddings], np.float32)


def refusal(response: Any) -> str:
    """Return the code of a response's error, which has title and text, and nothing beside it."""
    assert response.HasField("error")
    assert response.error.error_title
    assert response.error.error_body
    assert [field.name for field, _ in response.ListFields()] == ["error"]
    return str(response.error.error_code)


# --- the contract -----------------------------------------------------------


def test_our_file_is_the_reference_interface() -> None:
    ours = FileDescriptorProto()
    embedding_gateway_pb2.DESCRIPTOR.CopyToProto(ours)

    assert facts(ours) == facts(described())


def test_health_and_reflection(channel: grpc.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service=NAME))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {NAME, "orrery.embedder.v1.EmbedderService"} <= set(database.get_services())
    assert "stargate.RerankingService" in database.get_services()
    assert facts(database.FindFileContainingSymbol(NAME)) == facts(described())


# --- Embed ------------------------------------------------------------------


def test_texts_become_vectors_in_their_order_and_usage_is_told(stub: Stub) -> None:
    texts = [f"Text {number} ü" for number in range(40)]
    response = embed(stub, *texts, dimensions=384)
    local = embed(stub, *texts, provider="local", tokens={})

    assert vectors(response).shape == (40, 384)
    assert vectors(response) == pytest.approx(vectors(local), abs=1e-6)
    usage = response.modelUsage
    assert (usage.model_provider, usage.model_name, usage.tenant_id) == ("huggingface", MODEL_NAME, "default")
    assert (usage.model_type, usage.input_type) == (1, 1)
    assert usage.request_bytes == sum(len(text.encode()) for text in texts)
    assert usage.response_bytes == 40 * 384 * 4
    assert 0 < usage.call_duration_nanos < 30e9


def test_tokens_that_the_provider_counts_are_told(stub: Stub) -> None:
    usage = embed(stub, "a text", provider="openai", model="text-embedding-3-small", dimensions=256).modelUsage

    assert 0 < usage.prompt_tokens <= usage.total_tokens


@pytest.mark.parametrize("name", ["EMBEDDING_API_KEY", "x-embedding-api-key", "X-Embedding-Api-Key"])
def test_a_key_of_the_request_is_known_by_either_name(stub: Stub, upstream: Upstream, name: str) -> None:
    vectors(embed(stub, "x", tokens={name: PROVIDER_SECRET}))

    assert upstream.requests[-1]["headers"]["authorization"] == f"Bearer {PROVIDER_SECRET}"


@pytest.mark.parametrize("name", ["test-key", "test-key.providerKey"])
def test_a_stored_key_is_named_with_or_without_its_secret(stub: Stub, upstream: Upstream, name: str) -> None:
    vectors(embed(stub, "x", tokens={"providerKey": name}))

    assert upstream.requests[-1]["headers"]["authorization"] == f"Bearer {PROVIDER_SECRET}"


def test_a_key_of_the_request_goes_before_a_stored_one(stub: Stub) -> None:
    response = embed(stub, "x", tokens={"providerKey": "test-key", "EMBEDDING_API_KEY": "sk-other"})

    assert refusal(response) == "EMBEDDING_PROVIDER_CLIENT_ERROR"
    assert "sk-other" not in str(response)


@pytest.mark.parametrize(
    "tokens",
    [
        {"EMBEDDING_ACCESS_ID": AWS_ACCESS_ID, "EMBEDDING_SECRET_ID": PROVIDER_SECRET},
        {"accessId": "test-key.accessId", "secretKey": "test-key.secretKey"},
    ],
)
def test_a_key_of_two_secrets(stub: Stub, tokens: dict[str, str]) -> None:
    response = embed(
        stub,
        "one",
        "two",
        provider="bedrock",
        model="amazon.titan-embed-text-v2:0",
        dimensions=256,
        tokens=tokens,
        parameters={"region": {"str_value": "eu-west-1"}},
    )

    assert vectors(response).shape == (2, 256)


@pytest.mark.parametrize(("input_type", "said"), [(0, "search_document"), (1, "search_query"), (7, "search_document")])
def test_what_texts_are_for_is_passed_on(stub: Stub, upstream: Upstream, input_type: int, said: str) -> None:
    response = embed(stub, "x", provider="cohere", model="embed-english-light-v3.0", input_type=input_type)

    assert vectors(response).shape == (1, 384)
    assert upstream.requests[-1]["body"]["input_type"] == said
    assert response.modelUsage.input_type == {0: 1, 1: 2, 7: 0}[input_type]


def test_parameters_and_dimension_are_passed_on(stub: Stub, upstream: Upstream) -> None:
    parameters = {"task": {"str_value": "separation"}, "late_chunking": {"bool_value": True}}
    model = {"provider": "jinaAI", "model": "jina-embeddings-v3"}

    assert vectors(embed(stub, "x", dimensions=128, parameters=parameters, **model)).shape == (1, 128)
    body = upstream.requests[-1]["body"]
    assert (body["task"], body["late_chunking"], body["dimensions"]) == ("separation", True, 128)


def test_the_data_apis_own_token_goes_no_further(stub: Stub, upstream: Upstream) -> None:
    vectors(embed(stub, "x"))
    embed(stub, "x", tokens={})

    assert DATA_API_TOKEN not in str(upstream.requests)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"provider": "none"}, "EMBEDDING_PROVIDER_UNAVAILABLE"),
        ({"model": "none"}, "EMBEDDING_PROVIDER_UNAVAILABLE"),
        ({"tokens": {}}, "EMBEDDING_PROVIDER_AUTHENTICATION_KEYS_NOT_PROVIDED"),
        ({"tokens": {"EMBEDDING_API_KEY": ""}}, "EMBEDDING_PROVIDER_AUTHENTICATION_KEYS_NOT_PROVIDED"),
        ({"tokens": {"EMBEDDING_API_KEY": "clé"}}, "EMBEDDING_REQUEST_ENCODING_ERROR"),
        ({"tokens": {"providerKey": "unknown"}}, "VECTORIZE_CREDENTIAL_INVALID"),
        ({"tokens": {"providerKey": "test-key"}, "tenant": "other"}, "VECTORIZE_CREDENTIAL_INVALID"),
        ({"tokens": {"providerKey": "test-key"}, "tenant": ""}, "VECTORIZE_CREDENTIAL_INVALID"),
        ({"dimensions": -1}, "EMBEDDING_REQUEST_ENCODING_ERROR"),
    ],
)
def test_a_refusal_is_in_the_message(stub: Stub, upstream: Upstream, changes: dict[str, Any], code: str) -> None:
    assert refusal(embed(stub, "x", **changes)) == code
    assert upstream.requests == []


def test_no_texts_and_no_message_at_all_are_refused(stub: Stub) -> None:
    assert refusal(embed(stub)) == "EMBEDDING_REQUEST_ENCODING_ERROR"
    assert refusal(stub.call("Embed")) == "EMBEDDING_PROVIDER_UNAVAILABLE"


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("bad_request", "EMBEDDING_PROVIDER_CLIENT_ERROR"),
        ("unauthorized", "EMBEDDING_PROVIDER_CLIENT_ERROR"),
        ("echo_key", "EMBEDDING_PROVIDER_CLIENT_ERROR"),
        ("wrong_dimension", "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE"),
        ("not_json", "EMBEDDING_RESPONSE_DECODING_ERROR"),
    ],
)
def test_a_providers_failure_is_in_the_message(stub: Stub, upstream: Upstream, behaviour: str, code: str) -> None:
    upstream.behave(behaviour)
    response = embed(stub, "x")

    assert refusal(response) == code
    assert PROVIDER_SECRET not in str(response)


def test_a_late_provider_is_named_before_the_callers_deadline(stub: Stub, upstream: Upstream) -> None:
    upstream.behave("slow", times=5, seconds=4)

    response = embed(stub, "x", timeout=2)

    assert refusal(response) == "EMBEDDING_PROVIDER_TIMEOUT"
    assert "huggingface" in response.error.error_body


# --- GetSupportedProviders --------------------------------------------------


def test_the_catalogue_is_listed(stub: Stub) -> None:
    response = stub.call("GetSupportedProviders")
    catalogue = load_catalogue(CatalogueSettings(allowed=["deterministic"]))

    assert not response.HasField("error")
    assert set(response.supportedProviders) == {provider.id for provider in catalogue.all()}
    for provider_id, provider in response.supportedProviders.items():
        assert provider.enabled
        assert provider.displayName
        assert not provider.authTokenPassThroughForNoneAuth
        assert set(provider.supported_authentications) <= {"NONE", "HEADER", "SHARED_SECRET"}
        assert provider.properties.max_batch_size > 0
        known = catalogue.get(provider_id)
        assert known is not None
        assert [model.name for model in provider.models] == [model.name for model in known.models]
        for model in provider.models:
            # The reference turns these texts into enums, and reads the limits of a free dimension without looking.
            assert model.apiModelSupport.status in ("SUPPORTED", "DEPRECATED", "END_OF_LIFE")
            free = [item for item in model.parameters if item.name == "vectorDimension"]
            assert model.HasField("vector_dimension") != bool(free)
            for parameter in (*free, *model.parameters, *provider.parameters):
                assert set(parameter.validation) <= {"numericRange", "options"}
            assert all(len(item.validation) == 1 for item in free)


def test_a_provider_in_full(stub: Stub) -> None:
    listed = stub.call("GetSupportedProviders").supportedProviders
    openai = listed["openai"]
    header = openai.supported_authentications["HEADER"]
    free = next(model for model in openai.models if model.name == "text-embedding-3-small").parameters[0]

    assert openai.url == "https://api.openai.com/v1/"
    assert not openai.supported_authentications["NONE"].enabled
    assert header.enabled
    assert [(item.accepted, item.forwarded) for item in header.tokens] == [("x-embedding-api-key", "Authorization")]
    assert openai.supported_authentications["SHARED_SECRET"].tokens[0].accepted == "providerKey"
    assert [item.display_name for item in openai.parameters] == ["Organization ID", "Project ID"]
    assert (free.type, free.required, free.default_value) == (1, True, "1536")
    assert list(free.validation["numericRange"].values) == [2, 1536]
    assert openai.properties.at_most_retries == 3
    assert openai.properties.initial_back_off_millis == 100
    assert openai.properties.max_back_off_millis == 500
    assert openai.properties.jitter == 0.5
    assert openai.properties.max_batch_size == 2048

    options = next(model for model in listed["bedrock"].models if model.name.endswith("v2:0")).parameters[0].validation
    assert list(options["options"].values) == [256, 512, 1024]
    assert [item.accepted for item in listed["bedrock"].supported_authentications["HEADER"].tokens] == [
        "x-embedding-access-id",
        "x-embedding-secret-id",
    ]
    assert listed["cohere"].properties.task_type_read == "search_query"


# --- ValidateCredential -----------------------------------------------------


def validate(stub: Stub, provider: str, credential: str, tenant: str = "default") -> Any:
    """Validate a credential as the reference does."""
    return stub.call(
        "ValidateCredential", provider_name=provider, tenant_id=tenant, token=DATA_API_TOKEN, credential=credential
    )


@pytest.mark.parametrize(
    ("provider", "credential"),
    [
        ("jinaAI", "test-key.providerKey"),
        ("jinaAI", "test-key"),
        ("bedrock", "test-key.accessId"),
        ("bedrock", "test-key.secretKey"),
        ("bedrock", "test-key"),
    ],
)
def test_a_credential_that_can_be_used(stub: Stub, provider: str, credential: str) -> None:
    response = validate(stub, provider, credential)

    assert response.validity
    assert not response.HasField("error")


@pytest.mark.parametrize(
    ("provider", "credential", "tenant", "says"),
    [
        ("jinaAI", "unknown.providerKey", "default", "orrery keys add jinaAI unknown --database default"),
        ("jinaAI", "test-key.providerKey", "other", "orrery keys scope jinaAI test-key --add other"),
        ("jinaAI", "test-key.secretKey", "default", "takes no secret 'secretKey'"),
        ("jinaAI", "", "default", "does not exist"),
        ("none", "test-key.providerKey", "default", "known are openai"),
        ("local", "test-key.providerKey", "default", "takes no stored keys"),
    ],
)
def test_a_credential_that_cannot_be_used(stub: Stub, provider: str, credential: str, tenant: str, says: str) -> None:
    response = validate(stub, provider, credential, tenant)

    assert refusal(response) == "VECTORIZE_CREDENTIAL_INVALID"
    assert says in response.error.error_body


# --- what no provider and no caller brings about ----------------------------


class Engine:
    """An engine that answers what it is told to, and keeps the calls."""

    def __init__(self) -> None:
        self.calls: list[EmbedCall] = []
        self.answer: Answer | Exception = Answer(np.zeros((1, 3), np.float32))

    async def embed(self, call: EmbedCall) -> Answer:
        """Answer a call."""
        self.calls.append(call)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@contextlib.contextmanager
def serving(folder: Path, servicer: StargateServicer) -> Iterator[Stub]:
    """Serve the interface on a unix socket, in a thread."""
    address, loop = f"unix:{folder}/s.sock", asyncio.new_event_loop()
    stop = asyncio.Event()

    def register(server: grpc.aio.Server) -> None:
        embedding_gateway_pb2_grpc.add_EmbeddingServiceServicer_to_server(servicer, server)

    def run() -> None:
        loop.run_until_complete(serve_async(address, register, (NAME,), stop=stop.wait()))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(timeout=30)
            yield Stub(channel)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


@pytest.fixture
def engine() -> Engine:
    """An engine for one test."""
    return Engine()


@pytest.fixture
def strange(tmp_path: Path, engine: Engine) -> Iterator[Stub]:
    """A client of a server with that engine, and an operator's provider with models of every status."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        """
providers:
  - id: mine
    display_name: Mine
    wire: openai
    url: https://example.org/embeddings
    listed_url: ""
    authentication: {none: true}
    models:
      - {name: new, dimension: 3}
      - {name: old, dimension: 3, status: DEPRECATED, status_message: Use new.}
      - {name: gone, dimension: 3, status: END_OF_LIFE}
"""
    )
    store = CredentialStore(tmp_path / "credentials.db", MASTER_KEY)
    catalogue: Any = load_catalogue(CatalogueSettings(file=file))
    running: Any = engine
    with serving(tmp_path, StargateServicer(catalogue, store, running, RequestSettings())) as stub:
        yield stub
    store.close()


def test_every_status_is_listed(strange: Stub) -> None:
    mine = strange.call("GetSupportedProviders").supportedProviders["mine"]
    support = {model.name: model.apiModelSupport for model in mine.models}

    assert {name: item.status for name, item in support.items()} == {
        "new": "SUPPORTED",
        "old": "DEPRECATED",
        "gone": "END_OF_LIFE",
    }
    assert support["old"].message == "Use new."
    assert not support["gone"].HasField("message")
    assert not mine.HasField("url")
    assert set(mine.supported_authentications) == {"NONE"}


def test_what_nobody_foresaw_is_in_the_message_and_says_nothing_of_it(strange: Stub, engine: Engine) -> None:
    engine.answer = RuntimeError(f"something with {PROVIDER_SECRET}")
    response = embed(strange, "x")

    assert refusal(response) == "UNEXPECTED_SERVER_ERROR"
    assert PROVIDER_SECRET not in str(response)


def test_values_of_parameters_arrive_as_they_were_meant(strange: Stub, engine: Engine) -> None:
    embed(
        strange,
        "x",
        parameters={
            "text": {"str_value": ""},
            "whole": {"int_value": -3},
            "part": {"float_value": 0.1},
            "flag": {"bool_value": False},
        },
    )

    assert engine.calls[0].service.parameters == {"text": "", "whole": -3.0, "part": 0.1, "flag": False}


def test_a_call_shows_no_secret_and_names_only_stored_keys(strange: Stub, engine: Engine) -> None:
    embed(strange, "x", tokens={"EMBEDDING_API_KEY": PROVIDER_SECRET, "providerKey": "a-key"})
    (call,) = engine.calls

    assert (call.database, call.service.authentication) == ("default", {"providerKey": "a-key"})
    assert set(call.request_keys) == {"x-embedding-api-key"}
    assert PROVIDER_SECRET not in repr(call)
    assert DATA_API_TOKEN not in repr(call)


def test_logs_have_neither_texts_nor_keys(strange: Stub, engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    embed(strange, "a text that nobody else has to know")
    engine.answer = DataApiError("EMBEDDING_PROVIDER_TIMEOUT", provider="mine", problem="it slept")
    embed(strange, "a text that nobody else has to know")

    said = "".join(capfd.readouterr())
    assert "insertMany" in said
    assert "EMBEDDING_PROVIDER_TIMEOUT" in said
    for hidden in (PROVIDER_SECRET, DATA_API_TOKEN, "nobody else"):
        assert hidden not in said


def test_a_call_without_a_deadline_gets_one(strange: Stub, engine: Engine) -> None:
    embed(strange, "x", timeout=None)

    assert 0 < engine.calls[0].deadline - time.monotonic() <= 60


def test_a_count_of_tokens_that_does_not_fit_costs_no_vectors(strange: Stub, engine: Engine) -> None:
    engine.answer = Answer(np.ones((1, 3), np.float32), 2**40, 2**40)
    response = embed(strange, "x")

    assert vectors(response).shape == (1, 3)
    assert response.modelUsage.total_tokens == 2**31 - 1


def test_a_data_api_that_starts_finds_one_default_reranker_that_is_switched_off(stub: Stub) -> None:
    listed = stub.call("GetSupportedRerankingProviders").supportedProviders

    (provider,) = listed.values()
    (model,) = provider.models
    assert (provider.isDefault, provider.enabled, model.isDefault) == (True, False, True)
    assert model.apiModelSupport.status == "SUPPORTED"


def test_nothing_is_reranked_and_the_message_says_so(stub: Stub) -> None:
    asked = {"model_name": "m", "query": "q", "passages": ["a", "b"], "command_name": "findAndRerank"}

    answer = stub.call("Rerank", provider_context={"provider_name": "nvidia"}, reranking_request=asked)

    assert not answer.ranks
    assert answer.error.error_code == "RERANKING_FEATURE_NOT_ENABLED"
