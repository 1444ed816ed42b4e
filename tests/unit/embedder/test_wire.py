"""The wire formats: bodies from texts, vectors from answers, headers from keys. No network."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from services.embedder.catalogue import load_catalogue
from services.embedder.entries import Purpose
from services.embedder.providers import WIRE_FORMATS, deterministic
from services.embedder.providers.request import make_request
from services.embedder.providers.wire import AnswerError, EmbeddingModel, error_text
from services.embedder.secret import Secret
from services.runtime.errors import DataApiError

CATALOGUE = load_catalogue()
ROWS = [[1.0, 2.0], [3.0, 4.0]]
DATA = [{"index": 1, "embedding": ROWS[1]}, {"index": 0, "embedding": ROWS[0]}]
USAGE = {"prompt_tokens": 5, "total_tokens": 7}


#: What asks OpenAI, and Azure, for vectors in the cheaper form.
BASE64 = {"encoding_format": "base64"}


def encoded(row: Sequence[float]) -> str:
    """Return a vector as little-endian float32 in Base64."""
    return base64.b64encode(np.array(row, "<f4").tobytes()).decode()


def used(provider: str, name: str, dimension: int = 2, purpose: Purpose = "document", **given: Any) -> EmbeddingModel:
    """Return a model of the catalogue as a collection uses it."""
    entry = CATALOGUE.get(provider)
    assert entry is not None
    model = entry.model(name)
    assert model is not None
    return EmbeddingModel(entry, model, dimension, given, purpose)


BODIES = [
    (
        used("openai", "text-embedding-3-small", 8),
        {"input": ["a"], "model": "text-embedding-3-small", "dimensions": 8, **BASE64},
    ),
    (used("openai", "text-embedding-ada-002", 8), {"input": ["a"], "model": "text-embedding-ada-002", **BASE64}),
    (used("huggingfaceDedicated", "endpoint-defined-model", 8), {"input": ["a"]}),
    (used("mistral", "mistral-embed"), {"input": ["a"], "model": "mistral-embed", "encoding_format": "float"}),
    (used("upstageAI", "solar-embedding-1-large"), {"input": "a", "model": "solar-embedding-1-large-passage"}),
    (
        used("upstageAI", "solar-embedding-1-large", purpose="query"),
        {"input": "a", "model": "solar-embedding-1-large-query"},
    ),
    (
        used("voyageAI", "voyage-2", autoTruncate=False),
        {"input": ["a"], "model": "voyage-2", "input_type": "document", "truncation": False},
    ),
    (
        used("cohere", "embed-english-v3.0", purpose="query"),
        {"texts": ["a"], "model": "embed-english-v3.0", "input_type": "search_query", "embedding_types": ["float"]},
    ),
    (used("bedrock", "amazon.titan-embed-text-v1", region="r"), {"inputText": "a"}),
    (used("bedrock", "amazon.titan-embed-text-v2:0", 256, region="r"), {"inputText": "a", "dimensions": 256}),
    (
        used("vertexai", "textembedding-gecko@003", projectId="p", autoTruncate=True),
        {
            "instances": [{"content": "a", "task_type": "RETRIEVAL_DOCUMENT"}],
            "parameters": {"autoTruncate": True},
        },
    ),
    (used("ollama", "other", 8, truncate=False), {"input": ["a"], "model": "other", "truncate": False}),
    (
        used("ollama", "nomic-embed-text", asymmetric=True),
        {"input": ["search_document: a"], "model": "nomic-embed-text"},
    ),
    (used("tei", "endpoint-defined-model", normalize=False), {"inputs": ["a"], "normalize": False}),
    (used("tei", "endpoint-defined-model", promptNameIndex="d"), {"inputs": ["a"], "prompt_name": "d"}),
    (used("tei", "endpoint-defined-model", purpose="query", promptNameIndex="d"), {"inputs": ["a"]}),
    (
        used("huggingface", "intfloat/multilingual-e5-large-instruct", purpose="query", asymmetric=True),
        {
            "inputs": [
                "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: a"
            ],
            "options": {"waitForModel": True},
        },
    ),
]


@pytest.mark.parametrize(("model", "body"), BODIES, ids=[model.provider.id for model, _ in BODIES])
def test_a_request_has_these_members_and_no_other(model: EmbeddingModel, body: dict[str, Any]) -> None:
    assert WIRE_FORMATS[model.provider.wire].request_body(model, ["a"]) == body


ANSWERS = [
    ("openai", {"data": DATA, "usage": USAGE}, 5, 7),
    ("openai", {"data": DATA, "usage": {"total_tokens": 7}}, 7, 7),
    ("openai", {"data": [{"embedding": row} for row in ROWS]}, 0, 0),
    ("openai", {"data": [{"embedding": encoded(row)} for row in ROWS]}, 0, 0),
    ("huggingface", ROWS, 0, 0),
    ("tei", ROWS, 0, 0),
    ("cohere", {"embeddings": {"float": ROWS}, "meta": {"billed_units": {"input_tokens": 4}}}, 4, 4),
    ("ollama", {"embeddings": ROWS, "prompt_eval_count": 3}, 3, 3),
    (
        "vertexai",
        {"predictions": [{"embeddings": {"values": row, "statistics": {"token_count": 2.0}}} for row in ROWS]},
        4,
        4,
    ),
]


@pytest.mark.parametrize(("wire", "answer", "prompt", "total"), ANSWERS)
def test_an_answer_is_read(wire: Any, answer: Any, prompt: int, total: int) -> None:
    read = WIRE_FORMATS[wire].read_answer(answer, 2)

    assert read.vectors.tolist() == ROWS
    assert read.vectors.dtype == np.float32
    assert (read.prompt_tokens, read.total_tokens) == (prompt, total)


def test_the_answer_for_one_text_is_read() -> None:
    bedrock = WIRE_FORMATS["bedrock"].read_answer({"embedding": ROWS[0], "inputTextTokenCount": 3}, 1)
    flat = WIRE_FORMATS["huggingface"].read_answer(ROWS[0], 1)

    assert (bedrock.vectors.tolist(), bedrock.total_tokens) == (ROWS[:1], 3)
    assert flat.vectors.tolist() == ROWS[:1]


NOT_ANSWERS = [
    *[(wire, body) for wire in WIRE_FORMATS for body in ({}, [], None, 5, "x", {"error": "no"}, [[1.0]])],
    ("openai", {"data": {}}),
    ("openai", {"data": [1, 2]}),
    ("openai", {"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}),
    ("openai", {"data": [{"embedding": [1]}, {"embedding": [1, 2]}]}),
    ("openai", {"data": [{"embedding": "AAAA"}, {"embedding": "AAAA"}]}),
    ("openai", {"data": [{"embedding": "AAAAAA=="}, {"embedding": "AAAAAAAAAAA="}]}),
    ("openai", {"data": [{"embedding": "no Base64"}, {"embedding": "AAAAAA=="}]}),
    ("openai", {"data": [{"embedding": ""}, {"embedding": ""}]}),
    ("cohere", {"embeddings": ROWS}),
    ("vertexai", {"predictions": [{}, {}]}),
    ("vertexai", {"predictions": {}}),
    ("ollama", {"embeddings": [[True], [False]]}),
    ("bedrock", {"embedding": ROWS}),
]


@pytest.mark.parametrize(("wire", "answer"), NOT_ANSWERS)
def test_what_is_no_answer_is_refused(wire: Any, answer: Any) -> None:
    with pytest.raises(AnswerError):
        WIRE_FORMATS[wire].read_answer(answer, 2)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": {"message": "m"}}, "m"),
        ({"error": "e"}, "e"),
        ({"detail": ["a", "b"]}, "a; b"),
        ({"error": {}, "detail": "d"}, "d"),
        ({"error": {"code": 5}}, '{"code": 5}'),
        ({"message": "", "detail": "d"}, "d"),
        ({}, None),
        ([], None),
    ],
)
def test_an_error_is_found_at_the_first_place_that_has_one(body: Any, text: str | None) -> None:
    assert error_text(body, ("error.message", "error", "message", "detail")) == text


# --- whole requests -------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "header", "value"),
    [
        (used("openai", "text-embedding-3-small"), "Authorization", "Bearer s3cret"),
        (used("azureOpenAI", "text-embedding-ada-002", resourceName="r", deploymentId="d"), "api-key", "s3cret"),
        (used("ollama", "m"), "Authorization", "Bearer s3cret"),
    ],
)
def test_a_key_goes_in_its_header(model: EmbeddingModel, header: str, value: str) -> None:
    request = make_request(model, ["naïve"], {"providerKey": Secret("s3cret")})

    assert request.headers[header] == value
    assert json.loads(request.body)["input"] == ["naïve"]
    assert "s3cret" not in repr(request)


def test_a_request_without_a_key_has_no_header_for_it() -> None:
    assert make_request(used("ollama", "m"), ["a"], {}).headers.keys() == {"Content-Type", "Accept"}


def test_a_signature_covers_the_request_and_hides_the_secret() -> None:
    keys = {"accessId": Secret("AKIA1"), "secretKey": Secret("s3cret")}
    request = make_request(used("bedrock", "amazon.titan-embed-text-v1", region="eu-west-1"), ["a"], keys)

    assert request.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIA1/")
    assert "/eu-west-1/bedrock/aws4_request" in request.headers["Authorization"]
    assert "SignedHeaders=accept;content-type;host;x-amz-date" in request.headers["Authorization"]
    assert "s3cret" not in str(dict(request.headers))


@pytest.mark.parametrize("key", ["clé", "a\nb", "a\0"])
def test_a_key_that_no_header_can_hold_is_not_sent_and_not_shown(key: str) -> None:
    with pytest.raises(DataApiError) as caught:
        make_request(used("ollama", "m"), ["a"], {"providerKey": Secret(key)})

    assert caught.value.code == "EMBEDDING_REQUEST_ENCODING_ERROR"
    assert key not in caught.value.message


# --- vectors made of hashes -----------------------------------------------------


@pytest.mark.parametrize("dimension", [1, 2, 384, 4096])
def test_a_hash_makes_a_vector_of_length_one(dimension: int) -> None:
    vectors = deterministic.embed(["a", "b", "a", ""], dimension).vectors

    assert vectors.shape == (4, dimension)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-6)
    assert vectors[0].tolist() == vectors[2].tolist()


def test_texts_of_any_kind_are_unlike() -> None:
    vectors = deterministic.embed(["cat", "cats", "a kitten", "x" * 1000], 384).vectors

    assert abs(np.triu(vectors @ vectors.T, 1)).max() < 0.2


def test_a_vector_is_the_same_everywhere_and_always() -> None:
    first = deterministic.embed(["orrery"], 3).vectors[0]

    assert first == pytest.approx([-0.6744866, 0.27191433, -0.68638945])
