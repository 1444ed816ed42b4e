"""Text Embeddings Inference, its own route `/embed`: one model a server, so no request names it.

Facts: the OpenAPI description that the server publishes (`inputs`, `normalize`, `truncate`, `prompt_name`; errors
`{"error", "error_type"}`). The answer is an array of arrays, as Hugging Face Serverless gives it.
"""

from collections.abc import Sequence
from typing import Any

from services.embedder.providers.huggingface import read_answer
from services.embedder.providers.wire import EmbeddingModel

__all__ = ["read_answer", "request_body"]


def request_body(model: EmbeddingModel, texts: Sequence[str]) -> dict[str, Any]:
    """Return the request for some texts."""
    return {**model.members(), "inputs": model.texts(texts)}
