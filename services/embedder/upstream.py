"""Requests to providers over HTTP: batches side by side, retries within the caller's deadline, errors told apart."""

import asyncio
import email.utils
import random
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from httpx_aiohttp import AiohttpTransport

from services.embedder.providers import WIRE_FORMATS
from services.embedder.providers.request import make_request
from services.embedder.providers.wire import Answer, AnswerError, EmbeddingModel, error_text
from services.embedder.secret import Secret
from services.runtime.errors import DataApiError

_SHOWN_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """How providers are asked. Defaults are the reference's where it has them."""

    attempts: int = 4
    """Requests for one batch at most: the first and three retries."""
    read_seconds: float = 5.0
    """How long one request may take to be answered."""
    last_back_off_seconds: float = 0.5
    """Longest pause before a retry that the provider did not ask for; the first one is the catalogue's."""
    jitter: float = 0.5
    """Share of a pause that is random."""
    loading_seconds: float = 20.0
    """Longest pause for a model that the provider says it is loading."""
    concurrent_batches: int = 8
    """Requests at a time for one call."""


class Upstream:
    """The HTTP client of all providers."""

    def __init__(self, settings: UpstreamSettings) -> None:
        self._settings = settings
        # httpx's own pool costs milliseconds of CPU a request once dozens are in flight; aiohttp's does not.
        self._client = httpx.AsyncClient(
            transport=AiohttpTransport(), timeout=httpx.Timeout(settings.read_seconds), follow_redirects=False
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def embed(
        self, model: EmbeddingModel, texts: Sequence[str], keys: Mapping[str, Secret], deadline: float
    ) -> Answer:
        """Return the vectors of all texts, in their order.

        `keys` are secrets by the provider's names for them; `deadline` is in `time.monotonic` seconds. One batch that
        fails fails the call and ends the others. Raises `DataApiError` with the `EMBEDDING_PROVIDER_*` codes.
        """
        size = model.max_batch_size
        batches = [texts[at : at + size] for at in range(0, len(texts), size)]
        gate = asyncio.Semaphore(self._settings.concurrent_batches)

        async def one(batch: Sequence[str]) -> Answer:
            async with gate:
                return await self._batch(model, batch, keys, deadline)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(batch)) for batch in batches]
        except* DataApiError as failures:
            raise failures.exceptions[0] from None
        answers = [task.result() for task in tasks]
        return Answer(
            np.concatenate([answer.vectors for answer in answers]),
            sum(answer.prompt_tokens for answer in answers),
            sum(answer.total_tokens for answer in answers),
        )

    async def _batch(
        self, model: EmbeddingModel, texts: Sequence[str], keys: Mapping[str, Secret], deadline: float
    ) -> Answer:
        attempt = 1
        while True:
            failure = await self._attempt(model, texts, keys, deadline)
            if isinstance(failure, Answer):
                return failure
            pause = self._pause(model, failure, attempt)
            if pause is None or time.monotonic() + pause >= deadline:
                raise failure.error
            await asyncio.sleep(pause)
            attempt += 1

    async def _attempt(
        self, model: EmbeddingModel, texts: Sequence[str], keys: Mapping[str, Secret], deadline: float
    ) -> "Answer | _Failure":
        provider = model.provider.id
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return _Failure(_timeout(provider, "the caller's deadline passed before it was asked"))
        request = make_request(model, texts, keys)
        timeout = min(model.provider.read_seconds or self._settings.read_seconds, remaining)
        try:
            async with asyncio.timeout(timeout):
                response = await self._client.post(
                    request.url, content=request.body, headers=request.headers, timeout=timeout
                )
        except httpx.ConnectTimeout as problem:
            # What the transport makes of every connection that fails, refused ones and unknown hosts included.
            return _connection_failure(provider, problem)
        except (TimeoutError, httpx.TimeoutException):
            return _Failure(_timeout(provider, f"no answer within {timeout:.1f} seconds"), retry=True)
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            return _connection_failure(provider, problem)
        if response.status_code != 200:
            return _status_failure(model, response, keys)
        return _read(model, response, len(texts))

    def _pause(self, model: EmbeddingModel, failure: "_Failure", attempt: int) -> float | None:
        """Return the seconds to wait before the next attempt, None for no further one."""
        if not failure.retry or attempt >= self._settings.attempts:
            return None
        if failure.wait_seconds is not None:
            return failure.wait_seconds if failure.asked else min(failure.wait_seconds, self._settings.loading_seconds)
        longest = max(self._settings.last_back_off_seconds, model.provider.first_back_off_seconds)
        pause: float = min(longest, model.provider.first_back_off_seconds * 2 ** (attempt - 1))
        return pause * (1 - self._settings.jitter * random.random())  # noqa: S311 - spreads retries


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a request failed, whether another may succeed, and how long the provider said to wait.

    `asked` tells a `Retry-After`, which is kept, from an estimate.
    """

    error: DataApiError
    retry: bool = False
    wait_seconds: float | None = None
    asked: bool = False


def _timeout(provider: str, problem: str) -> DataApiError:
    return DataApiError("EMBEDDING_PROVIDER_TIMEOUT", provider=provider, problem=problem)


def _connection_failure(provider: str, problem: Exception) -> _Failure:
    """Return what a failed connection means: a host that is not there, or a provider that breaks off."""
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return _Failure(DataApiError("EMBEDDING_PROVIDER_BAD_HOST_NAME", provider=provider, problem=cause))
        cause = cause.__cause__ or cause.__context__
    said = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
    error = DataApiError(
        "EMBEDDING_PROVIDER_SERVER_ERROR",
        provider=provider,
        httpStatus="no HTTP status",
        errorMessage=f"nothing, because the connection failed: {said}",
    )
    return _Failure(error, retry=True)


def _status_failure(model: EmbeddingModel, response: httpx.Response, keys: Mapping[str, Secret]) -> _Failure:
    status, provider = response.status_code, model.provider.id
    said = _said(model, response, keys)
    if status in (408, 504):
        error = _timeout(provider, f"it answered HTTP status {status} and said: {said}")
        return _Failure(error, retry=True)
    details: dict[str, Any] = {"provider": provider, "httpStatus": f"HTTP status {status}", "errorMessage": said}
    if status == 429:
        wait = _retry_after(response)
        error = DataApiError("EMBEDDING_PROVIDER_RATE_LIMITED", **details)
        return _Failure(error, retry=True, wait_seconds=wait, asked=wait is not None)
    if status >= 500:
        wait = _retry_after(response)
        error = DataApiError("EMBEDDING_PROVIDER_SERVER_ERROR", **details)
        estimate = _estimated_seconds(response)
        return _Failure(error, True, estimate if wait is None else wait, asked=wait is not None)
    return _Failure(DataApiError("EMBEDDING_PROVIDER_CLIENT_ERROR", **details))


def _said(model: EmbeddingModel, response: httpx.Response, keys: Mapping[str, Secret]) -> str:
    """Return what an error answer says: the message at the provider's place for it, else the whole body."""
    try:
        text = error_text(response.json(), model.provider.error_at)
    except ValueError:
        text = None
    said = text if text is not None else response.text
    for key in keys.values():
        said = key.scrub(said)
    if response.status_code in (401, 403):
        said = (
            f"{said.rstrip('. ')}. Check the key: replace a stored one with `orrery keys remove` and `orrery keys add`"
        )
    return said if len(said) <= _SHOWN_CHARACTERS else f"{said[:_SHOWN_CHARACTERS]}..."


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of `Retry-After`, a number or an HTTP date (RFC 9110, section 10.2.3)."""
    given = response.headers.get("retry-after")
    if given is None:
        return None
    try:
        return max(0.0, float(given))
    except ValueError:
        pass  # then it is a date
    try:
        return max(0.0, email.utils.parsedate_to_datetime(given).timestamp() - time.time())
    except ValueError:
        return None


def _estimated_seconds(response: httpx.Response) -> float | None:
    """Return how long a model still takes to load, which Hugging Face says in its answer."""
    try:
        estimate = response.json().get("estimated_time")
    except (ValueError, AttributeError):
        return None
    return float(estimate) if isinstance(estimate, int | float) and estimate > 0 else None


def _read(model: EmbeddingModel, response: httpx.Response, count: int) -> "Answer | _Failure":
    provider = model.provider.id
    try:
        body: Any = response.json()
    except ValueError as problem:
        return _Failure(
            DataApiError(
                "EMBEDDING_RESPONSE_DECODING_ERROR", provider=provider, model=model.model.name, problem=problem
            )
        )
    try:
        answer = WIRE_FORMATS[model.provider.wire].read_answer(body, count)
        check_vectors(answer, model)
    except AnswerError as problem:
        return _Failure(DataApiError("EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE", provider=provider, problem=problem))
    return answer


def check_vectors(answer: Answer, model: EmbeddingModel) -> None:
    """Refuse vectors of another length, or with numbers that are not finite. Raises `AnswerError`."""
    length = answer.vectors.shape[1]
    if length != model.dimension:
        raise AnswerError(f"vectors of dimension {model.dimension} were expected, {length} came")
    if not np.isfinite(answer.vectors).all():
        raise AnswerError("a vector has a number that is not finite")
