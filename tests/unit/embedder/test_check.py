"""What createCollection asks: the checks, in their order, with what each names."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.embedder.catalogue import Catalogue, load_catalogue
from services.embedder.check import OtherValue, Service, check_service, credential_name
from services.embedder.credentials import CredentialStore
from services.embedder.secret import Secret
from services.runtime.errors import DataApiError

INVALID = "INVALID_CREATE_COLLECTION_OPTIONS"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
JINA = {"provider": "jinaAI", "model": "jina-embeddings-v3"}
HUGGING = {"provider": "huggingface"}
TITAN = {"provider": "bedrock", "model": "amazon.titan-embed-text-v2:0"}
REGION = {"region": "eu-west-1"}
RETIRED = b"""
providers:
  - id: p
    display_name: P
    wire: openai
    url: http://u
    authentication: {shared_secret: true}
    parameters: [{name: region, type: string, help: h, required: true}]
    models:
      - {name: old, dimension: 4, status: DEPRECATED, status_message: use new}
      - {name: gone, dimension: 4, status: END_OF_LIFE}
      - {name: new, dimension_range: {minimum: 2, maximum: 8}, parameters: [
          {name: size, type: number, help: h},
          {name: bounded, type: number, help: h, numeric_range: [1, 9]},
          {name: chosen, type: number, help: h, options: [2, 4]}]}
"""


@pytest.fixture
def credentials(tmp_path: Path) -> Iterator[CredentialStore]:
    """A credential store with `my-key` of two providers."""
    store = CredentialStore(tmp_path / "c.db", Secret(base64.b64encode(b"k" * 32).decode()))
    for provider in ("huggingface", "p"):
        store.create(provider, "my-key", {"providerKey": Secret("s")}, ["d"])
    yield store
    store.close()


def check(credentials: CredentialStore, catalogue: Catalogue | None = None, **service: Any) -> Service:
    """Check a service for the database `d`."""
    return check_service(Service(**service), "d", catalogue or load_catalogue(), credentials)


@pytest.mark.parametrize(
    ("service", "code", "names"),
    [
        ({"provider": "x", "model": "y"}, INVALID, ["'x'", "huggingface"]),
        ({"provider": "deterministic"}, INVALID, ["'deterministic'", "ORRERY_ALLOW_PROVIDERS=deterministic"]),
        ({**HUGGING, "authentication": {"token": "k"}, "model": "y"}, INVALID, ["'token'", "huggingface"]),
        ({"provider": "local", "authentication": {"providerKey": "k"}}, INVALID, ["'providerKey'", "local"]),
        (
            {**HUGGING, "authentication": {"providerKey": "none"}, "model": "y"},
            "VECTORIZE_CREDENTIAL_INVALID",
            ["'none'", "'d'"],
        ),
        (HUGGING, INVALID, ["modelName", "huggingface"]),
        ({**HUGGING, "model": "y"}, INVALID, ["'y'", "huggingface"]),
        ({**HUGGING, "model": MINILM, "dimension": 123, "parameters": {"x": "y"}}, INVALID, ["123", "384"]),
        ({**JINA, "dimension": 1025}, INVALID, ["1025", "[1, 1024]"]),
        ({**HUGGING, "model": MINILM, "parameters": {"vectorDimension": 384.0}}, INVALID, ["'vectorDimension'"]),
        ({**JINA, "parameters": {"task": 5.0}}, INVALID, ["'task'", "string"]),
        ({**JINA, "parameters": {"task": "x", "asymmetric": True}}, INVALID, ["'task'", "'asymmetric'"]),
        ({**HUGGING, "model": MINILM, "parameters": {"asymmetric": True}}, INVALID, ["'asymmetric'"]),
        ({**TITAN, "dimension": 511, "parameters": REGION}, INVALID, ["511", "[256, 512, 1024]"]),
        (TITAN, INVALID, ["'region'", "bedrock"]),
        ({**TITAN, "parameters": {"region": "evil.com/"}}, INVALID, ["'region'", "host name"]),
        ({**TITAN, "authentication": {"providerKey": "k"}}, INVALID, ["'providerKey'", "bedrock"]),
        ({"provider": "huggingfaceDedicated", "model": "other"}, INVALID, ["'other'", "huggingfaceDedicated"]),
        ({"provider": "huggingfaceDedicated"}, INVALID, ["`vector.dimension`", "endpoint-defined-model"]),
        ({"provider": "nvidia", "model": "NV-Embed-QA", "authentication": {"providerKey": "k"}}, INVALID, ["nvidia"]),
        (
            {"provider": "openaiCompatible", "model": "m", "dimension": 8, "parameters": {"baseUrl": "http://h"}},
            INVALID,
            ["'baseUrl'", "ORRERY_ALLOW_BASE_URLS=http://h"],
        ),
        ({**JINA, "parameters": {"late_chunking": OtherValue("null")}}, INVALID, ["'late_chunking'", "boolean"]),
    ],
)
def test_the_first_failure_answers(
    credentials: CredentialStore, service: dict[str, Any], code: str, names: list[str]
) -> None:
    with pytest.raises(DataApiError) as caught:
        check(credentials, **service)

    assert caught.value.code == code
    for name in names:
        assert name in caught.value.message


@pytest.mark.parametrize(
    ("service", "code", "says"),
    [
        ({"model": "new"}, INVALID, "NONE nor HEADER"),
        ({"model": "old", "dimension": 5}, INVALID, "5"),
        ({"model": "old"}, "DEPRECATED_AI_MODEL", "use new"),
        ({"model": "gone"}, "END_OF_LIFE_AI_MODEL", "gone"),
        ({"model": "new"}, INVALID, "dimension"),
        ({"model": "new", "dimension": 4}, INVALID, "'region' is required"),
        ({"model": "new", "dimension": 4, "parameters": {"region": "r", "size": "big"}}, INVALID, "'size' must be"),
        ({"model": "new", "dimension": 4, "parameters": {"region": "r", "bounded": 0.5}}, INVALID, "[1, 9]"),
        ({"model": "new", "dimension": 4, "parameters": {"region": "r", "chosen": 3.0}}, INVALID, "2, 4"),
    ],
)
def test_retired_models_and_required_parameters(
    credentials: CredentialStore, service: dict[str, Any], code: str, says: str
) -> None:
    authentication = {} if says == "NONE nor HEADER" else {"providerKey": "my-key"}
    with pytest.raises(DataApiError) as caught:
        check(credentials, load_catalogue(text=RETIRED), provider="p", authentication=authentication, **service)

    assert caught.value.code == code
    assert says in caught.value.message


def test_what_fits_comes_back_with_dimension_and_names_filled_in(credentials: CredentialStore) -> None:
    checked = check(credentials, provider="huggingface", model=MINILM, authentication={"providerKey": "my-key"})

    assert (checked.dimension, checked.authentication) == (384, {"providerKey": "my-key.providerKey"})


def test_a_model_that_its_endpoint_decides_need_not_be_named(credentials: CredentialStore) -> None:
    endpoint = {"endpointName": "e", "regionName": "r", "cloudName": "c"}
    checked = check(credentials, provider="huggingfaceDedicated", dimension=8, parameters=endpoint)

    assert (checked.model, checked.dimension) == ("endpoint-defined-model", 8)


def test_a_key_of_two_secrets_is_named_twice(credentials: CredentialStore) -> None:
    credentials.create("bedrock", "aws", {"accessId": Secret("a"), "secretKey": Secret("s")}, ["d"])

    checked = check(credentials, **TITAN, parameters=REGION, authentication={"accessId": "aws", "secretKey": "aws"})

    assert checked.authentication == {"accessId": "aws.accessId", "secretKey": "aws.secretKey"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [("k", "k.providerKey"), ("k.providerKey", "k.providerKey"), ("my.key", "my.key.providerKey")],
)
def test_names_of_credentials_are_normalised(given: str, expected: str) -> None:
    assert credential_name(given, "providerKey") == expected
