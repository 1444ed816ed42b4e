"""Vectors that are computed in this process, by the local model or from a text's hash."""

import asyncio
from collections.abc import Sequence

from services.embedder import minilm
from services.embedder.failures import Failure
from services.embedder.providers import deterministic
from services.embedder.providers.wire import Answer, EmbeddingModel
from services.embedder.upstream import Reply
from services.runtime.errors import DataApiError


async def compute(model: EmbeddingModel, texts: Sequence[str], seconds: float) -> Reply:
    """Return the vectors of some texts. A computation that has begun is finished, however long it takes."""
    if model.provider.wire == "deterministic":
        return Reply(deterministic.embed(texts, model.dimension))
    try:
        loaded = await asyncio.to_thread(minilm.loaded_model)
        return Reply(Answer(await asyncio.to_thread(loaded.embed, texts)))
    except minilm.ModelUnavailableError as problem:
        error = DataApiError("EMBEDDING_PROVIDER_UNAVAILABLE", provider=model.provider.id, problem=problem)
        return Reply(Failure(error))
