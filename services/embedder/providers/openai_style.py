"""The request and answer that OpenAI began and others share: `input` and `model`, `data[].embedding`.

Facts: the API references of OpenAI, Azure OpenAI, Jina AI, Mistral AI, NVIDIA NIM, Upstage and Voyage AI, and what the
Data API sends to each. The answer is ordered by `index`, whatever order it arrives in.
"""

from collections.abc import Sequence
from typing import Any

from services.embedder.providers.wire import (
    Answer,
    AnswerError,
    EmbeddingModel,
    decoded_vectors,
    to_vectors,
    tokens_at,
    vectors_at,
)


def request_body(model: EmbeddingModel, texts: Sequence[str]) -> dict[str, Any]:
    """Return the request for some texts: an array, or for providers that take one text a request that text."""
    sent = model.texts(texts)
    # Parameters come first: none of them may stand for the texts or the model.
    body: dict[str, Any] = {**model.members(), "input": sent[0] if model.provider.input_as_text else sent}
    if model.model.sent:
        body["model"] = model.name
    return body


def read_answer(body: Any, count: int) -> Answer:
    """Return the vectors of an answer in the order of the texts.

    Raises `AnswerError`; an error body under HTTP 200 is one.
    """
    data = vectors_at(body, "data")
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise AnswerError("its `data` is no array of objects")
    indexes = [item.get("index", at) for at, item in enumerate(data)]
    if sorted(indexes, key=str) != sorted(range(len(data)), key=str):
        raise AnswerError(f"the indexes of `data` are not 0 to {len(data) - 1}")
    by_index = dict(zip(indexes, data, strict=True))
    rows = [by_index[at].get("embedding") for at in range(len(data))]
    encoded = bool(rows) and all(isinstance(row, str) for row in rows)
    vectors = decoded_vectors(rows, count) if encoded else to_vectors(rows, count)
    total = tokens_at(body, "usage.total_tokens")
    return Answer(vectors, tokens_at(body, "usage.prompt_tokens") or total, total)
