"""Ollama: `input` in, `embeddings` out.

Facts: the server's API documentation of `/api/embed`, the route that takes several texts.
"""

from typing import Any

from services.embedder.providers.openai_style import request_body
from services.embedder.providers.wire import Answer, to_vectors, tokens_at, vectors_at

__all__ = ["read_answer", "request_body"]


def read_answer(body: Any, count: int) -> Answer:
    """Return the vectors of an answer, which come in the order of the texts. Raises `AnswerError`."""
    tokens = tokens_at(body, "prompt_eval_count")
    return Answer(to_vectors(vectors_at(body, "embeddings"), count), tokens, tokens)
