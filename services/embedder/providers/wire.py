"""What every wire format reads and writes, typed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from services.embedder.catalogue import Model, Provider

ParameterValue = str | float | bool
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A model as a collection uses it: with its dimension and parameters."""

    provider: Provider
    model: Model
    dimension: int
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider answered to one request: float32[n, d], and the tokens it counted."""

    vectors: Float32
    prompt_tokens: int = 0
    total_tokens: int = 0


class AnswerError(Exception):
    """An answer that does not fit the request; the message says how."""


@dataclass(frozen=True, slots=True)
class WireFormat:
    """How to speak to a provider: texts to the JSON of a request, the JSON of an answer to vectors."""

    request_body: Callable[[EmbeddingModel, Sequence[str]], dict[str, Any]]
    read_answer: Callable[[Any, int], Answer]


def to_vectors(rows: Any, count: int) -> Float32:
    """Return float32[count, d] of rows of numbers. Raises `AnswerError` for anything else."""
    if not isinstance(rows, list):
        raise AnswerError(f"an array of vectors was expected, found {type(rows).__name__}")
    if len(rows) != count:
        raise AnswerError(f"{count} texts were sent and {len(rows)} vectors came back")
    if not all(isinstance(row, list) and row and all(map(_is_number, row)) for row in rows):
        raise AnswerError("a vector is no array of numbers")
    if len({len(row) for row in rows}) > 1:
        raise AnswerError("the vectors have different lengths")
    with np.errstate(over="ignore"):
        return np.array(rows, np.float64).astype(np.float32)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def error_text(body: Any, path: Sequence[str]) -> str | None:
    """Return the message at a path of an error body, None where there is none; lists are joined."""
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    if isinstance(body, list):
        return "; ".join(map(str, body)) or None
    return None if body is None else str(body)
