"""The request and answer that OpenAI began and others share: `input` and `model`, `data[].embedding`.

Facts: the API references of Jina AI and OpenAI. The answer is ordered by `index`, whatever order it arrives in.
"""

from collections.abc import Sequence
from typing import Any

from services.embedder.providers.wire import Answer, AnswerError, EmbeddingModel, to_vectors


def request_body(model: EmbeddingModel, texts: Sequence[str]) -> dict[str, Any]:
    """Return the request for some texts; `dimensions` only for models whose dimension is free."""
    # Parameters come first: none of them may stand for the texts or the model.
    body: dict[str, Any] = {**model.parameters, "input": list(texts), "model": model.model.name}
    if model.model.dimension_range is not None:
        body["dimensions"] = model.dimension
    return body


def read_answer(body: Any, count: int) -> Answer:
    """Return the vectors of an answer in the order of the texts.

    Raises `AnswerError`; an error body under HTTP 200 is one.
    """
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        said = ""
        if isinstance(body, dict):
            said = f"; it says: {body.get('detail') or body.get('error') or body.get('message') or 'nothing'}"
        raise AnswerError(f"it has no `data`{said}")
    if not all(isinstance(item, dict) for item in data):
        raise AnswerError("an element of `data` is no object")
    indexes = [item.get("index", at) for at, item in enumerate(data)]
    if sorted(indexes, key=str) != sorted(range(len(data)), key=str):
        raise AnswerError(f"the indexes of `data` are not 0 to {len(data) - 1}")
    by_index = dict(zip(indexes, data, strict=True))
    vectors = to_vectors([by_index[at].get("embedding") for at in range(len(data))], count)
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    total = _tokens(usage.get("total_tokens"))
    return Answer(vectors, _tokens(usage.get("prompt_tokens")) or total, total)


def _tokens(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
