"""findEmbeddingProviders: the catalogue in the shape that clients parse."""

from typing import Any

import pytest

from tests.contract.api import Api, error_code
from tests.upstream.formats import FORMATS


def providers(api: Api, **members: Any) -> dict[str, Any]:
    """Return the providers by id."""
    return dict(api.at_database("findEmbeddingProviders", **members)["status"]["embeddingProviders"])


def test_the_providers_are_listed(api: Api) -> None:
    assert providers(api).keys() == {*FORMATS, "local", "deterministic"}


def test_a_provider_has_every_member_that_clients_need(api: Api) -> None:
    jina = providers(api)["jinaAI"]

    assert jina.keys() == {"displayName", "url", "supportedAuthentication", "parameters", "models"}
    assert jina["displayName"] == "Jina AI"
    assert jina["url"] == "https://api.jina.ai/v1/embeddings"
    assert jina["supportedAuthentication"]["HEADER"] == {
        "enabled": True,
        "tokens": [{"accepted": "x-embedding-api-key", "forwarded": "Authorization"}],
    }
    assert jina["supportedAuthentication"]["SHARED_SECRET"] == {
        "enabled": True,
        "tokens": [{"accepted": "providerKey", "forwarded": "Authorization"}],
    }
    assert jina["supportedAuthentication"]["NONE"] == {"enabled": False, "tokens": []}


@pytest.mark.parametrize(
    ("provider", "url"),
    [
        ("openai", "https://api.openai.com/v1/"),
        ("bedrock", None),
        (
            "azureOpenAI",
            "https://{resourceName}.openai.azure.com/openai/deployments/{deploymentId}/embeddings?api-version=2024-02-01",
        ),
        (
            "huggingfaceDedicated",
            "https://{endpointName}.{regionName}.{cloudName}.endpoints.huggingface.cloud/embeddings",
        ),
    ],
)
def test_urls_are_the_catalogues_own_with_their_placeholders(api: Api, provider: str, url: str | None) -> None:
    assert providers(api)[provider]["url"] == url


def test_a_parameter_of_a_provider_has_its_type_in_upper_case(api: Api) -> None:
    voyage, openai = providers(api)["voyageAI"], providers(api)["openai"]
    (truncate,) = voyage["parameters"]

    assert truncate | {"help": ""} == {
        "name": "autoTruncate",
        "type": "BOOLEAN",
        "required": False,
        "defaultValue": "true",
        "validation": {},
        "help": "",
        "displayName": None,
        "hint": None,
    }
    assert [(item["name"], item["displayName"]) for item in openai["parameters"]] == [
        ("organizationId", "Organization ID"),
        ("projectId", "Project ID"),
    ]


def test_a_key_of_two_secrets_is_listed_with_both(api: Api) -> None:
    ways = providers(api)["bedrock"]["supportedAuthentication"]

    assert ways["HEADER"]["tokens"] == [
        {"accepted": "x-embedding-access-id", "forwarded": "aws_access_key_id"},
        {"accepted": "x-embedding-secret-id", "forwarded": "aws_secret_access_key"},
    ]
    assert [token["accepted"] for token in ways["SHARED_SECRET"]["tokens"]] == ["accessId", "secretKey"]


def test_ways_to_authenticate_that_a_provider_has_not_are_not_listed(api: Api) -> None:
    assert providers(api)["nvidia"]["supportedAuthentication"] == {"NONE": {"enabled": True, "tokens": []}}


def test_a_dimension_with_options_lists_them(api: Api) -> None:
    first, second = providers(api)["bedrock"]["models"]

    assert (first["vectorDimension"], first["parameters"]) == (1536, [])
    assert second["parameters"][0] | {"help": ""} == {
        "name": "vectorDimension",
        "type": "number",
        "required": False,
        "defaultValue": "1024",
        "validation": {"options": [256, 512, 1024]},
        "help": "",
    }


def test_a_model_with_a_free_dimension_has_a_parameter_for_it(api: Api) -> None:
    models = {model["name"]: model for model in providers(api)["jinaAI"]["models"]}
    model = models["jina-embeddings-v3"]

    assert model["vectorDimension"] is None
    assert model["apiModelSupport"] == {"status": "SUPPORTED"}
    parameters = {parameter["name"]: parameter for parameter in model["parameters"]}
    assert parameters["vectorDimension"] | {"help": ""} == {
        "name": "vectorDimension",
        "type": "number",
        "required": True,
        "defaultValue": "1024",
        "validation": {"numericRange": [1, 1024]},
        "help": "",
    }
    assert (parameters["late_chunking"]["type"], parameters["late_chunking"]["defaultValue"]) == (
        "boolean",
        "false",
    )
    assert parameters["task"]["defaultValue"] == "text-matching"


def test_a_model_with_a_fixed_dimension_shows_it(api: Api) -> None:
    models = {model["name"]: model for model in providers(api)["huggingface"]["models"]}

    assert models["BAAI/bge-base-en-v1.5"]["vectorDimension"] == 768
    assert models["BAAI/bge-base-en-v1.5"]["parameters"] == []


def test_models_are_sorted_by_name(api: Api) -> None:
    names = [model["name"] for model in providers(api)["huggingface"]["models"]]

    assert names == sorted(names)
    assert len(names) == 6


@pytest.mark.parametrize("status", ["SUPPORTED", "supported", "", None])
def test_statuses_are_taken_in_any_case(api: Api, status: str | None) -> None:
    assert len(providers(api, options={"filterModelStatus": status})["jinaAI"]["models"]) == 6


@pytest.mark.parametrize("status", ["DEPRECATED", "end_of_life"])
def test_providers_without_such_a_model_are_listed_empty(api: Api, status: str) -> None:
    assert providers(api, options={"filterModelStatus": status})["local"]["models"] == []


def test_an_unknown_status_is_refused(api: Api) -> None:
    answer = api.at_database("findEmbeddingProviders", options={"filterModelStatus": "x"})

    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"
    assert "command.options.filterModelStatus" in answer["errors"][0]["message"]
