"""Cohere: `texts` in, `embeddings.float` out.

Facts: the provider's API reference of `/v2/embed`, where `embedding_types` and `input_type` are required.
"""

from collections.abc import Sequence
from typing import Any

from services.embedder.providers.wire import Answer, EmbeddingModel, to_vectors, tokens_at, vectors_at


def request_body(model: EmbeddingModel, texts: Sequence[str]) -> dict[str, Any]:
    """Return the request for some texts."""
    return {**model.members(), "texts": model.texts(texts), "model": model.name, "embedding_types": ["float"]}


def read_answer(body: Any, count: int) -> Answer:
    """Return the vectors of an answer, which come in the order of the texts. Raises `AnswerError`."""
    vectors = to_vectors(vectors_at(body, "embeddings.float"), count)
    tokens = tokens_at(body, "meta.billed_units.input_tokens")
    return Answer(vectors, tokens, tokens)
