"""Google Vertex AI: `:predict` of a publisher's text embedding model. Project, region and model are part of the URL.

Facts: the provider's reference of the text embeddings API: `task_type` belongs to each instance, `autoTruncate` and
`outputDimensionality` to `parameters`.
"""

from collections.abc import Sequence
from typing import Any

from services.embedder.providers.wire import (
    Answer,
    AnswerError,
    EmbeddingModel,
    member_at,
    to_vectors,
    tokens_at,
    vectors_at,
)


def request_body(model: EmbeddingModel, texts: Sequence[str]) -> dict[str, Any]:
    """Return the request for some texts; `parameters` only where there are any."""
    instances = [{**model.purpose_members(), "content": text} for text in model.texts(texts)]
    parameters = model.parameter_members()
    return {"instances": instances, **({"parameters": parameters} if parameters else {})}


def read_answer(body: Any, count: int) -> Answer:
    """Return the vectors of an answer, which come in the order of the texts. Raises `AnswerError`."""
    predictions = vectors_at(body, "predictions")
    if not isinstance(predictions, list):
        raise AnswerError("its `predictions` are no array")
    vectors = to_vectors([member_at(item, "embeddings.values") for item in predictions], count)
    tokens = sum(tokens_at(item, "embeddings.statistics.token_count") for item in predictions)
    return Answer(vectors, tokens, tokens)
