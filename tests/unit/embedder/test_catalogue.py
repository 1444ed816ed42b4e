"""The catalogue: what it holds, and what it refuses."""

import pytest

from services.embedder.catalogue import CatalogueError, load_catalogue

MODELS = {
    "huggingface": {
        "sentence-transformers/all-MiniLM-L6-v2": 384,
        "intfloat/multilingual-e5-large": 1024,
        "intfloat/multilingual-e5-large-instruct": 1024,
        "BAAI/bge-small-en-v1.5": 384,
        "BAAI/bge-base-en-v1.5": 768,
        "BAAI/bge-large-en-v1.5": 1024,
    },
    "jinaAI": {
        **{f"jina-embeddings-v2-base-{language}": 768 for language in ("en", "de", "es", "code", "zh")},
        "jina-embeddings-v3": None,
    },
    "local": {"sentence-transformers/all-MiniLM-L6-v2": 384},
}


@pytest.mark.parametrize("provider", MODELS)
def test_the_models_and_their_dimensions(provider: str) -> None:
    entry = load_catalogue({}).get(provider)

    assert entry is not None
    assert {model.name: model.dimension for model in entry.models} == MODELS[provider]


def test_a_free_dimension_has_bounds_and_a_default() -> None:
    jina = load_catalogue({}).get("jinaAI")
    assert jina is not None
    bounds = jina.models[-1].dimension_range

    assert bounds is not None
    assert (bounds.minimum, bounds.maximum, bounds.default) == (1, 1024, 1024)


def test_a_url_is_overridden_by_the_provider_in_upper_case() -> None:
    catalogue = load_catalogue({"JINAAI": "http://127.0.0.1:1/x"})
    jina, other = catalogue.get("jinaAI"), catalogue.get("huggingface")

    assert jina is not None
    assert other is not None
    assert jina.url == "http://127.0.0.1:1/x"
    assert other.url is not None
    assert other.url.startswith("https://router.huggingface.co/")


PROVIDER = "{id: p, display_name: P, wire: openai, url: u, authentication: {}, models: [%s]}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("providers: [", "not valid"),
        ("providers: [{id: p}]", "display_name"),
        ("providers: [" + PROVIDER % "" + ", " + PROVIDER % "" + "]", "same id"),
        ("providers: [" + PROVIDER % "{name: m}" + "]", "dimension"),
        ("providers: [" + PROVIDER % "{name: m, dimension: 0}" + "]", "dimension"),
        ("providers: [" + PROVIDER % "{name: m, dimension: 1, unknown: 2}" + "]", "unknown"),
        ("providers: [" + PROVIDER % "{name: m, dimension: 1}, {name: m, dimension: 2}" + "]", "same name"),
        ("providers: [" + (PROVIDER % "").replace("url: u, ", "") + "]", "needs a url"),
        ("providers: [" + (PROVIDER % "").replace("openai", "smoke") + "]", "smoke"),
    ],
)
def test_what_is_not_valid_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(CatalogueError, match=says):
        load_catalogue({}, text.encode())


def test_a_url_for_nobody_is_refused() -> None:
    with pytest.raises(CatalogueError, match="ORRERY_PROVIDER_NOBODY_URL"):
        load_catalogue({"NOBODY": "http://x"})
