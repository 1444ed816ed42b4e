"""Hugging Face Serverless: feature extraction. The model is part of the URL.

Facts: the provider's API documentation of feature extraction, and `inputs`/`options` as the Data API sends them.
"""

from collections.abc import Sequence
from typing import Any

from services.embedder.providers.wire import Answer, EmbeddingModel, to_vectors, vectors_at


def request_body(model: EmbeddingModel, texts: Sequence[str]) -> dict[str, Any]:
    """Return the request for some texts. The provider is to wait for a model that is not loaded yet."""
    return {**model.members(), "inputs": model.texts(texts), "options": {"waitForModel": True}}


def read_answer(body: Any, count: int) -> Answer:
    """Return the vectors of an answer: an array of arrays, or for one text possibly that text's array itself.

    Raises `AnswerError`; an error body under HTTP 200 is one.
    """
    rows = vectors_at(body, "embeddings") if isinstance(body, dict) else body
    if count == 1 and isinstance(rows, list) and rows and not isinstance(rows[0], list):
        rows = [rows]
    return Answer(to_vectors(rows, count))
