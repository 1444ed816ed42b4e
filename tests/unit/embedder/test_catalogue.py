"""The catalogue: what it holds, what it refuses, and what an operator may change."""

from pathlib import Path

import pytest

from services.embedder.catalogue import CatalogueSettings, load_catalogue
from services.embedder.entries import CatalogueError, Provider

#: Models and dimensions: the Data API's, and some of providers that it has switched off or hosts itself.
#: (least, most, default) where a collection chooses.
MODELS = {
    "openai": {
        "text-embedding-3-small": (2, 1536, 1536),
        "text-embedding-3-large": (256, 3072, 3072),
        "text-embedding-ada-002": 1536,
    },
    "azureOpenAI": {
        "text-embedding-3-small": (2, 1536, 1536),
        "text-embedding-3-large": (256, 3072, 1536),
        "text-embedding-ada-002": 1536,
    },
    "bedrock": {"amazon.titan-embed-text-v1": 1536, "amazon.titan-embed-text-v2:0": (256, 1024, 1024)},
    "cohere": {
        "embed-english-v3.0": 1024,
        "embed-english-v2.0": 4096,
        "embed-english-light-v3.0": 384,
        "embed-multilingual-v3.0": 1024,
        "embed-multilingual-light-v3.0": 384,
        "embed-v4.0": (256, 1536, 1536),
    },
    "huggingface": {
        "sentence-transformers/all-MiniLM-L6-v2": 384,
        "intfloat/multilingual-e5-large": 1024,
        "intfloat/multilingual-e5-large-instruct": 1024,
        "BAAI/bge-small-en-v1.5": 384,
        "BAAI/bge-base-en-v1.5": 768,
        "BAAI/bge-large-en-v1.5": 1024,
    },
    "huggingfaceDedicated": {"endpoint-defined-model": (2, 3072, None)},
    "jinaAI": {
        **{f"jina-embeddings-v2-base-{language}": 768 for language in ("en", "de", "es", "code", "zh")},
        "jina-embeddings-v3": (1, 1024, 1024),
    },
    "mistral": {"mistral-embed": 1024},
    "nvidia": {"NV-Embed-QA": 1024, "nvidia/nv-embedqa-e5-v5": 1024},
    "upstageAI": {"solar-embedding-1-large": 4096},
    "vertexai": {
        "textembedding-gecko@003": 768,
        "text-embedding-005": (1, 768, 768),
        "text-multilingual-embedding-002": (1, 768, 768),
        "gemini-embedding-001": (1, 3072, 3072),
    },
    "voyageAI": {
        **{f"voyage-{name}": 1024 for name in ("large-2-instruct", "law-2", "2", "finance-2", "multilingual-2")},
        **{f"voyage-{name}": 1536 for name in ("code-2", "large-2")},
    },
    "local": {"sentence-transformers/all-MiniLM-L6-v2": 384},
}
OURS = {"ollama", "tei", "openaiCompatible", "deterministic"}


def provider(provider_id: str, settings: CatalogueSettings | None = None, text: bytes | None = None) -> Provider:
    """Return an enabled provider of the catalogue."""
    entry = load_catalogue(settings, text).get(provider_id)
    assert entry is not None
    return entry


@pytest.mark.parametrize("provider_id", MODELS)
def test_the_models_and_their_dimensions(provider_id: str) -> None:
    found: dict[str, object] = {}
    for model in provider(provider_id).models:
        bounds, options = model.dimension_range, model.dimension_options
        found[model.name] = model.dimension
        if bounds is not None:
            found[model.name] = (bounds.minimum, bounds.maximum, bounds.default)
        if options is not None:
            found[model.name] = (min(options.values), max(options.values), options.default)

    assert found == MODELS[provider_id]


def test_every_provider_is_there() -> None:
    catalogue = load_catalogue(CatalogueSettings(allowed=("deterministic",)))

    assert {entry.id for entry in catalogue.all()} == set(MODELS) | OURS


def test_a_model_of_any_name_stands_for_names_that_are_not_listed() -> None:
    ollama = provider("ollama")
    listed, other, unnamed = (ollama.model(name) for name in ("all-minilm", "my-model:7b", "endpoint-defined-model"))

    assert listed is not None
    assert other is not None
    assert unnamed is not None
    assert (listed.dimension, other.name, other.dimension, other.sent, unnamed.sent) == (
        384,
        "my-model:7b",
        None,
        True,
        False,
    )
    assert provider("openai").model("my-model") is None


# --- the operator's changes ---------------------------------------------------


def test_a_url_is_overridden_by_the_provider_in_upper_case() -> None:
    settings = CatalogueSettings(urls={"JINAAI": "http://127.0.0.1:1/x"})
    jina, other = provider("jinaAI", settings), provider("huggingface", settings)

    assert jina.url == "http://127.0.0.1:1/x"
    assert jina.shown_url == "https://api.jina.ai/v1/embeddings"
    assert other.url is not None
    assert other.url.startswith("https://router.huggingface.co/")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (CatalogueSettings(urls={"NOBODY": "http://x"}), "ORRERY_PROVIDER_NOBODY_URL.*AZUREOPENAI"),
        (CatalogueSettings(urls={"OPENAI": "http://x/{who}"}), "ORRERY_PROVIDER_OPENAI_URL.*'openai'.*{who}"),
        (CatalogueSettings(urls={"OPENAI": "localhost:1"}), "ORRERY_PROVIDER_OPENAI_URL.*http://"),
        (CatalogueSettings(allowed=["nobody"]), "ORRERY_ALLOW_PROVIDERS.*'nobody'"),
        (CatalogueSettings(file=Path("/nowhere.yaml")), "ORRERY_PROVIDERS_FILE.*/nowhere.yaml"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(settings: CatalogueSettings, says: str) -> None:
    with pytest.raises(CatalogueError, match=says):
        load_catalogue(settings)


def test_a_provider_is_switched_on_by_name() -> None:
    assert load_catalogue().get("deterministic") is None
    assert "ORRERY_ALLOW_PROVIDERS=deterministic" in load_catalogue().why_not("deterministic")
    assert provider("deterministic", CatalogueSettings(allowed=["deterministic"])).id == "deterministic"


def test_an_operators_file_adds_and_replaces_providers(tmp_path: Path) -> None:
    file = tmp_path / "more.yaml"
    file.write_text(
        """
providers:
  - id: in-house
    display_name: In house
    wire: openai
    url: https://embed.example.org/v1/embeddings
    authentication: {none: true}
    models: [{name: m, dimension: 8, prefixes: {document: "d: ", query: "q: "}}]
  - id: mistral
    display_name: Mistral by proxy
    wire: openai
    url: https://proxy.example.org/embeddings
    authentication: {shared_secret: true}
    models: [{name: mistral-embed, dimension: 1024}]
"""
    )
    settings = CatalogueSettings(file=file, urls={"IN_HOUSE": "http://127.0.0.1:1"})

    assert provider("in-house", settings).url == "http://127.0.0.1:1"
    assert provider("mistral", settings).display_name == "Mistral by proxy"
    assert len(load_catalogue(settings).all()) == len(load_catalogue().all()) + 1


PROVIDER = "{id: p, display_name: P, wire: openai, url: http://u, authentication: {}, models: [%s]}"
WRONG = [
    ("providers: [", ["not valid YAML"]),
    ("more: []", ["`providers`"]),
    ("providers: [{id: p}]", ["'p'", "display_name"]),
    ("providers: [5]", ["position 1"]),
    ("providers: [" + PROVIDER % "" + ", " + PROVIDER % "" + "]", ["same id", "'p'"]),
    ("providers: [" + PROVIDER % "{name: m}" + "]", ["'p'", "'m'", "dimension", "models[0]"]),
    ("providers: [" + PROVIDER % "{name: m, dimension: 0}" + "]", ["'p'", "models[0].dimension"]),
    ("providers: [" + PROVIDER % "{name: m, dimension: 1, unknown: 2}" + "]", ["'p'", "unknown", "models[0]"]),
    ("providers: [" + PROVIDER % "{name: m, dimension: 1}, {name: m, dimension: 2}" + "]", ["'p'", "same name"]),
    (
        "providers: [" + PROVIDER % "{name: m, dimension_range: {minimum: 4, maximum: 2}}" + "]",
        ["'p'", "models[0].dimension_range"],
    ),
    (
        "providers: [" + PROVIDER % "{name: m, dimension_options: {values: [4], default: 2}}" + "]",
        ["'p'", "models[0].dimension_options"],
    ),
    ("providers: [" + (PROVIDER % "").replace("url: http://u, ", "") + "]", ["'p'", "needs a url"]),
    ("providers: [" + (PROVIDER % "").replace("http://u", "u") + "]", ["'p'", "http://"]),
    ("providers: [" + (PROVIDER % "").replace("http://u", "'http://u/{x}'") + "]", ["'p'", "{x}", "modelId"]),
    ("providers: [" + (PROVIDER % "").replace("openai", "smoke") + "]", ["'p'", "smoke", "wire"]),
    ("providers: [" + (PROVIDER % "").replace("url:", "default_model: x, url:") + "]", ["'p'", "default_model"]),
    ("providers: [" + (PROVIDER % "").replace("url:", "input_as_text: true, url:") + "]", ["'p'", "max_batch_size"]),
    (
        "providers: ["
        + (PROVIDER % "").replace("url:", "parameters: [{name: a, type: number, help: h, place: url}], url:")
        + "]",
        ["'p'", "'a'", "string", "parameters[0]"],
    ),
]


@pytest.mark.parametrize(("text", "says"), WRONG)
def test_what_is_not_valid_is_refused_with_its_place(text: str, says: list[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)

    with pytest.raises(CatalogueError) as own:
        load_catalogue(text=text.encode())
    with pytest.raises(CatalogueError) as operators:
        load_catalogue(CatalogueSettings(file=file))

    assert "providers.yaml" in str(own.value)
    assert str(file) in str(operators.value)
    for part in says:
        assert part in str(operators.value)
