"""One request to a provider over HTTP: sent, answered, and what the answer says of the provider's limits."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import numpy as np
from httpx_aiohttp import AiohttpTransport

from services.embedder.failures import (
    Failure,
    connection_failure,
    hidden_status,
    retry_after,
    status_failure,
    timeout_failure,
)
from services.embedder.providers import WIRE_FORMATS
from services.embedder.providers.request import ProviderRequest, make_request
from services.embedder.providers.wire import Answer, AnswerError, EmbeddingModel
from services.embedder.secret import Secret
from services.runtime.errors import DataApiError

_UNITS = (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0))


@dataclass(frozen=True, slots=True)
class RateNotice:
    """What a provider's headers say is left of a rate limit, and in how many seconds it starts anew, if they say."""

    requests: int | None = None
    tokens: int | None = None
    reset_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a request."""

    outcome: Answer | Failure
    notice: RateNotice | None = None


class Upstream:
    """The HTTP client of all providers."""

    def __init__(self) -> None:
        # httpx's own pool costs milliseconds of CPU a request once dozens are in flight; aiohttp's does not. Its client
        # would add a third to what is left, for redirects, cookies and proxies, none of which is wanted here.
        self._transport = AiohttpTransport()

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def ask(
        self, model: EmbeddingModel, keys: Mapping[str, Secret], texts: Sequence[str], seconds: float
    ) -> Reply:
        """Send one request and return what became of it, at most `seconds` later.

        `keys` are secrets by the provider's names for them.
        """
        provider = model.provider.id
        try:
            request = make_request(model, texts, keys)
        except DataApiError as error:
            return Reply(Failure(error))
        try:
            async with asyncio.timeout(seconds):
                response = await self._transport.handle_async_request(_message(request, seconds))
                await response.aread()
        except httpx.ConnectTimeout as problem:
            # What the transport makes of every connection that fails, refused ones and unknown hosts included.
            return Reply(connection_failure(provider, problem))
        except (TimeoutError, httpx.TimeoutException):
            return Reply(timeout_failure(provider, f"no answer within {seconds:.1f} seconds"))
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            return Reply(connection_failure(provider, problem))
        notice = _notice(response.headers)
        if response.status_code != 200:
            return Reply(status_failure(model, response, keys), notice)
        return Reply(_read(model, response, keys, len(texts)), notice)


def _message(request: ProviderRequest, seconds: float) -> httpx.Request:
    timeouts = {"connect": seconds, "read": seconds, "pool": seconds}
    return httpx.Request(
        "POST", request.url, headers=request.headers, content=request.body, extensions={"timeout": timeouts}
    )


def _read(model: EmbeddingModel, response: httpx.Response, keys: Mapping[str, Secret], count: int) -> Answer | Failure:
    provider = model.provider.id
    try:
        body = _decoded(response.content)
    except ValueError as problem:
        return Failure(
            DataApiError(
                "EMBEDDING_RESPONSE_DECODING_ERROR", provider=provider, model=model.model.name, problem=problem
            )
        )
    try:
        answer = WIRE_FORMATS[model.provider.wire].read_answer(body, count)
        check_vectors(answer, model)
    except AnswerError as problem:
        status = hidden_status(body)
        if status is not None:
            return status_failure(model, response, keys, hidden=status)
        said = str(problem)
        for key in keys.values():
            said = key.scrub(said)
        return Failure(DataApiError("EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE", provider=provider, problem=said))
    return answer


def _decoded(content: bytes) -> Any:
    """Return the JSON of an answer; what is none, such as NaN among the numbers, is left to be refused by name."""
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        return json.loads(content)


def check_vectors(answer: Answer, model: EmbeddingModel) -> None:
    """Refuse vectors of another length, or with numbers that are not finite. Raises `AnswerError`."""
    length = answer.vectors.shape[1]
    if length != model.dimension:
        raise AnswerError(f"vectors of dimension {model.dimension} were expected, {length} came")
    if not np.isfinite(answer.vectors).all():
        raise AnswerError("a vector has a number that is not finite")


# --- rate limits ------------------------------------------------------------


def _notice(headers: httpx.Headers) -> RateNotice | None:
    """Return what the headers that OpenAI began, and others share, say of limits."""
    requests = _count(headers.get("x-ratelimit-remaining-requests"))
    tokens = _count(headers.get("x-ratelimit-remaining-tokens"))
    if requests is None and tokens is None:
        return None
    which = "requests" if requests == 0 else "tokens"
    reset = _seconds(headers.get(f"x-ratelimit-reset-{which}"))
    return RateNotice(requests, tokens, reset if reset is not None else retry_after(headers.get("retry-after")))


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _seconds(text: str | None) -> float | None:
    """Return the seconds of a span such as `1m30.5s`, `20ms` or `12`."""
    if text is None:
        return None
    total, number = 0.0, ""
    rest = text.strip()
    while rest:
        if rest[0].isdigit() or rest[0] == ".":
            number, rest = number + rest[0], rest[1:]
            continue
        unit = next(((name, scale) for name, scale in _UNITS if rest.startswith(name)), None)
        if unit is None or not number:
            return None
        total += float(number) * unit[1]
        number, rest = "", rest[len(unit[0]) :]
    try:
        return total + (float(number) if number else 0.0)
    except ValueError:
        return None
