"""What every wire format reads and writes, typed; and what the catalogue says of a request, worked out for one."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from services.embedder.entries import (
    ASYMMETRIC_PARAMETER,
    SEND_DIMENSION_PARAMETER,
    Model,
    Parameter,
    Provider,
    Purpose,
)
from services.embedder.secret import Secret

ParameterValue = str | float | bool
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A model as a collection uses it: with its dimension and parameters, and what the texts are for."""

    provider: Provider
    model: Model
    dimension: int
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    purpose: Purpose = "document"

    @property
    def name(self) -> str:
        """The model's name as this purpose has it."""
        suffixes = self.provider.model_suffixes
        return self.model.name + (suffixes.of(self.purpose) if suffixes is not None else "")

    @property
    def max_batch_size(self) -> int:
        """The most texts that one request may have."""
        return self.model.max_batch_size or self.provider.max_batch_size

    @property
    def max_tokens_per_request(self) -> int | None:
        """The most tokens that one request may have, None where there is no such limit or it is not known."""
        return self.model.max_tokens_per_request or self.provider.max_tokens_per_request

    @property
    def distinguishes_purposes(self) -> bool:
        """Whether documents and queries get different requests."""
        said = (self.provider.input_types, self.provider.model_suffixes)
        asked = (self.model.prefixes, self.model.tasks) if self.asymmetric else ()
        parameters = (*self.provider.parameters, *self.model.parameters)
        return any(item is not None for item in (*said, *asked)) or any(
            parameter.purpose is not None and parameter.name in self.parameters for parameter in parameters
        )

    @property
    def sent_parameters(self) -> set[str]:
        """The names of the parameters that change what is sent."""
        return {parameter.name for parameter in (*self.provider.parameters, *self.model.all_parameters)}

    @property
    def asymmetric(self) -> bool:
        """Whether the collection asked for documents and queries to be told apart."""
        return self.parameters.get(ASYMMETRIC_PARAMETER) is True

    def texts(self, texts: Sequence[str]) -> list[str]:
        """Return texts as they are sent: after the prefix of their purpose, where that is asked for."""
        prefixes = self.model.prefixes
        if prefixes is None or not self.asymmetric:
            return list(texts)
        return [prefixes.of(self.purpose) + text for text in texts]

    def purpose_members(self) -> dict[str, Any]:
        """Return the members of a request that say what the texts are for."""
        said = [self.provider.input_types, self.model.tasks if self.asymmetric else None]
        return {item.member: item.of(self.purpose) for item in said if item is not None}

    def parameter_members(self) -> dict[str, Any]:
        """Return the members that parameters and the dimension become, by the names that the provider has for them."""
        members: dict[str, Any] = {
            parameter.sent_as or parameter.name: value for parameter, value in self._given("body")
        }
        if self._states_dimension and self.provider.dimension_member is not None:
            members[self.provider.dimension_member] = self.dimension
        return members

    def members(self) -> dict[str, Any]:
        """Return all members of a request but its texts and the model's name."""
        return {**self.parameter_members(), **self.purpose_members(), **self.provider.body}

    def headers(self) -> dict[str, str]:
        """Return the headers that parameters become."""
        return {parameter.sent_as or parameter.name: str(value) for parameter, value in self._given("header")}

    def _given(self, place: str) -> list[tuple[Parameter, ParameterValue]]:
        known = (*self.provider.parameters, *self.model.all_parameters)
        return [
            (parameter, self.parameters[parameter.name])
            for parameter in known
            if parameter.place == place
            and parameter.name in self.parameters
            and parameter.purpose in (None, self.purpose)
        ]

    @property
    def _states_dimension(self) -> bool:
        if self.model.dimensions is None:
            return False
        declared = {parameter.name for parameter in self.provider.parameters}
        return SEND_DIMENSION_PARAMETER not in declared or self.parameters.get(SEND_DIMENSION_PARAMETER) is True


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider answered to one request: float32[n, d], and the tokens it counted."""

    vectors: Float32
    prompt_tokens: int = 0
    total_tokens: int = 0


class AnswerError(Exception):
    """An answer that does not fit the request; the message says how."""


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A request without its key: the absolute URL, headers, and the body as it goes out."""

    url: str
    headers: Mapping[str, str]
    body: bytes


def key_headers(model: EmbeddingModel, request: Unsigned, keys: Mapping[str, Secret]) -> dict[str, str]:
    """Return the headers that carry a key: each secret in the header that the catalogue has for it."""
    return {
        token.forwarded: f"{token.scheme} {keys[token.accepted_token].reveal()}".lstrip()
        for token in model.provider.authentication.tokens
        if token.accepted_token in keys
    }


@dataclass(frozen=True, slots=True)
class WireFormat:
    """How to speak to a provider: texts to the JSON of a request, the JSON of an answer to vectors, keys to headers."""

    request_body: Callable[[EmbeddingModel, Sequence[str]], dict[str, Any]]
    read_answer: Callable[[Any, int], Answer]
    authorise: Callable[[EmbeddingModel, Unsigned, Mapping[str, Secret]], dict[str, str]] = key_headers


def to_vectors(rows: Any, count: int) -> Float32:
    """Return float32[count, d] of rows of numbers. Raises `AnswerError` for anything else."""
    if not isinstance(rows, list):
        raise AnswerError(f"an array of vectors was expected, found {type(rows).__name__}")
    if len(rows) != count:
        raise AnswerError(f"{count} texts were sent and {len(rows)} vectors came back")
    try:
        # Fast and strict: strings and booleans are no numbers.
        msgspec.convert(rows, list[list[float]])
    except msgspec.ValidationError:
        raise AnswerError("a vector is no array of numbers") from None
    if not all(rows):
        raise AnswerError("a vector is no array of numbers")
    if len({len(row) for row in rows}) > 1:
        raise AnswerError("the vectors have different lengths")
    with np.errstate(over="ignore"):
        return np.array(rows, np.float64).astype(np.float32)


def decoded_vectors(rows: Sequence[str], count: int) -> Float32:
    """Return float32[count, d] of rows in Base64 of little-endian float32. Raises `AnswerError` for anything else."""
    if len(rows) != count:
        raise AnswerError(f"{count} texts were sent and {len(rows)} vectors came back")
    try:
        contents = [base64.b64decode(row, validate=True) for row in rows]
    except ValueError:
        raise AnswerError("a vector is no Base64") from None
    length = len(contents[0])
    if not length or length % 4 or any(len(content) != length for content in contents):
        raise AnswerError("the vectors have different lengths, or are no float32 values")
    return np.frombuffer(b"".join(contents), "<f4").reshape(count, length // 4).astype(np.float32)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def member_at(body: Any, path: str) -> Any:
    """Return what is at a path of names joined by dots, None where there is nothing."""
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body


def vectors_at(body: Any, path: str) -> Any:
    """Return the rows at a path of an answer. Raises `AnswerError` with what the answer says instead."""
    rows = member_at(body, path)
    if rows is None:
        said = error_text(body, ("error.message", "error", "message", "detail"))
        raise AnswerError(f"it has no `{path}`; it says: {said or 'nothing'}")
    return rows


def tokens_at(body: Any, path: str) -> int:
    """Return a count of tokens, 0 where the answer has none."""
    value = member_at(body, path)
    return int(value) if _is_number(value) and 0 <= value < float("inf") else 0


def error_text(body: Any, paths: Sequence[str]) -> str | None:
    """Return the message of an error body: the first path that has one, None where none has; lists are joined."""
    return next((text for path in paths if (text := _text(member_at(body, path)))), None)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(map(_text, value))
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if value not in (None, {}) else ""
