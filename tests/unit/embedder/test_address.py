"""URLs of providers: what callers give fills a placeholder and does nothing else."""

import pytest
from msgspec.structs import replace

from services.embedder.address import address
from services.embedder.catalogue import load_catalogue
from services.embedder.entries import Provider

CATALOGUE = load_catalogue()
AZURE = {"resourceName": "my-resource", "deploymentId": "my-deployment"}


def url(provider_id: str, model: str, parameters: dict[str, object], **changes: object) -> str:
    """Return the URL of a provider of the catalogue, changed."""
    provider = CATALOGUE.get(provider_id)
    assert isinstance(provider, Provider)
    entry = provider.model(model)
    assert entry is not None
    return address(replace(provider, **changes), entry, parameters)


@pytest.mark.parametrize(
    ("provider", "model", "parameters", "expected"),
    [
        ("openai", "text-embedding-3-small", {}, "https://api.openai.com/v1/embeddings"),
        (
            "azureOpenAI",
            "text-embedding-3-small",
            AZURE,
            "https://my-resource.openai.azure.com/openai/deployments/my-deployment/embeddings?api-version=2024-02-01",
        ),
        (
            "bedrock",
            "amazon.titan-embed-text-v2:0",
            {"region": "eu-west-1"},
            "https://bedrock-runtime.eu-west-1.amazonaws.com/model/amazon.titan-embed-text-v2:0/invoke",
        ),
        (
            "huggingface",
            "BAAI/bge-small-en-v1.5",
            {},
            "https://router.huggingface.co/hf-inference/models/BAAI/bge-small-en-v1.5/pipeline/feature-extraction",
        ),
        (
            "huggingfaceDedicated",
            "endpoint-defined-model",
            {"endpointName": "e1", "regionName": "us-east-1", "cloudName": "aws"},
            "https://e1.us-east-1.aws.endpoints.huggingface.cloud/embeddings",
        ),
        (
            "vertexai",
            "textembedding-gecko@003",
            {"projectId": "my project"},
            "https://us-central1-aiplatform.googleapis.com/v1/projects/my%20project/locations/us-central1/publishers/"
            "google/models/textembedding-gecko@003:predict",
        ),
        ("ollama", "all-minilm", {}, "http://localhost:11434/api/embed"),
        ("tei", "endpoint-defined-model", {}, "http://localhost:8080/embed"),
    ],
)
def test_placeholders_are_filled_in(provider: str, model: str, parameters: dict[str, object], expected: str) -> None:
    assert url(provider, model, parameters) == expected


@pytest.mark.parametrize("value", ["evil.com/", "evil.com", "a@b", "a#", "a?", "", "-a", "a-", "a b", "é", "a" * 64])
def test_a_part_of_a_host_name_is_one_label(value: str) -> None:
    with pytest.raises(ValueError, match=r"'resourceName'.*host name"):
        url("azureOpenAI", "text-embedding-3-small", {**AZURE, "resourceName": value})


@pytest.mark.parametrize(
    ("value", "part"), [("a/../b", "a%2F..%2Fb"), ("a?b=c", "a%3Fb%3Dc"), ("a#b", "a%23b"), ("%2e", "%252e")]
)
def test_a_part_of_a_path_stays_one_segment(value: str, part: str) -> None:
    found = url("azureOpenAI", "text-embedding-3-small", {**AZURE, "deploymentId": value})

    assert f"/deployments/{part}/embeddings?api-version=" in found


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_part_of_a_path_is_no_step_up(value: str) -> None:
    with pytest.raises(ValueError, match="'deploymentId'"):
        url("azureOpenAI", "text-embedding-3-small", {**AZURE, "deploymentId": value})


def test_a_missing_part_is_named() -> None:
    with pytest.raises(ValueError, match="'region' is needed"):
        url("bedrock", "amazon.titan-embed-text-v1", {})


def test_a_template_of_the_operator_is_filled_in_alike() -> None:
    found = url("azureOpenAI", "text-embedding-3-small", AZURE, url="http://127.0.0.1:1/{resourceName}/{modelId}")

    assert found == "http://127.0.0.1:1/my-resource/text-embedding-3-small"


@pytest.mark.parametrize(
    ("allowed", "given"),
    [
        (["http://gpu:8000"], "http://gpu:8000/v1"),
        (["http://gpu:8000/v1"], "http://gpu:8000/v1/"),
        (["http://gpu"], "http://GPU:80/v1"),
        (["*"], "https://anything.example.org"),
    ],
)
def test_an_allowed_base_url_is_taken(allowed: list[str], given: str) -> None:
    found = url("openaiCompatible", "m", {"baseUrl": given}, allowed_base_urls=tuple(allowed))

    assert found == given.rstrip("/") + "/embeddings"


@pytest.mark.parametrize(
    ("allowed", "given"),
    [
        ([], "http://gpu:8000"),
        (["http://gpu:8000"], "http://gpu:8001"),
        (["http://gpu:8000"], "https://gpu:8000"),
        (["http://gpu"], "http://gpu.evil.com"),
        (["http://gpu/v1"], "http://gpu/v10"),
        (["http://gpu/v1"], "http://gpu/"),
    ],
)
def test_another_base_url_is_refused_naming_the_remedy(allowed: list[str], given: str) -> None:
    with pytest.raises(ValueError, match=f"'baseUrl'.*ORRERY_ALLOW_BASE_URLS={given}"):
        url("openaiCompatible", "m", {"baseUrl": given}, allowed_base_urls=tuple(allowed))


@pytest.mark.parametrize(
    "given",
    [
        "gpu",
        "ftp://gpu",
        "http://",
        "http://a@gpu",
        "http://gpu?x",
        "http://gpu#x",
        "http://gpu/v1/../admin",
        "http://gpu/%2e%2e",
        "http://gpu:x",
        "http://gp u",
        "http://gpu\\@evil",
        "http://é",
    ],
)
def test_what_is_no_plain_base_url_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="'baseUrl' must be a URL"):
        url("openaiCompatible", "m", {"baseUrl": given}, allowed_base_urls=("*",))


def test_the_default_base_url_is_allowed_and_others_are_not() -> None:
    assert url("ollama", "m", {"baseUrl": "http://localhost:11434"}) == "http://localhost:11434/api/embed"
    with pytest.raises(ValueError, match="'baseUrl'"):
        url("ollama", "m", {"baseUrl": "http://169.254.169.254"})
