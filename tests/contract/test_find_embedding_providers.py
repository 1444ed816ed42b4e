"""findEmbeddingProviders: the catalogue in the shape that clients parse."""

from typing import Any

import pytest

from tests.contract.api import Api, error_code


def providers(api: Api, **members: Any) -> dict[str, Any]:
    """Return the providers by id."""
    return dict(api.at_database("findEmbeddingProviders", **members)["status"]["embeddingProviders"])


def test_the_providers_are_listed(api: Api) -> None:
    assert {"huggingface", "jinaAI", "local"} <= providers(api).keys()


def test_a_provider_has_every_member_that_clients_need(api: Api) -> None:
    jina = providers(api)["jinaAI"]

    assert jina.keys() == {"displayName", "url", "supportedAuthentication", "parameters", "models"}
    assert jina["displayName"] == "Jina AI"
    assert jina["url"].endswith("/v1/embeddings")
    assert jina["supportedAuthentication"]["HEADER"] == {
        "enabled": True,
        "tokens": [{"accepted": "x-embedding-api-key", "forwarded": "Authorization"}],
    }
    assert jina["supportedAuthentication"]["SHARED_SECRET"] == {
        "enabled": True,
        "tokens": [{"accepted": "providerKey", "forwarded": "Authorization"}],
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
