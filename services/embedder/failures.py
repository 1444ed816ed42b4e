"""What a failed request to a provider means: which error it is, and what may help."""

import email.utils
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from services.embedder.providers.wire import EmbeddingModel, error_text, member_at
from services.embedder.secret import Secret
from services.runtime.errors import DataApiError

_SHOWN_CHARACTERS = 1000
#: Statuses by which providers refuse what a request holds, of which one text may be the cause.
_CONTENT_STATUSES = frozenset({400, 413, 422})
#: Where bodies under HTTP 200 hide the status that they should have had.
_HIDDEN_STATUSES = ("error.code", "error.status", "status_code", "status", "code", "error.status_code")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed, and what may help.

    `retry`: another attempt may succeed, after `wait_seconds` where the provider said how long; `asked` tells a
    `Retry-After`, which is kept, from an estimate. `content`: one text of several may be the cause. `overload`: fewer
    requests at a time may help. `down`: the provider did not do its work, whatever it was asked.
    """

    error: DataApiError
    retry: bool = False
    wait_seconds: float | None = None
    asked: bool = False
    content: bool = False
    overload: bool = False
    down: bool = False


def timeout_failure(provider: str, problem: str) -> Failure:
    """Return what it means that no answer came in time."""
    error = DataApiError("EMBEDDING_PROVIDER_TIMEOUT", provider=provider, problem=problem)
    return Failure(error, retry=True, overload=True, down=True)


def connection_failure(provider: str, problem: Exception) -> Failure:
    """Return what a failed connection means: a host that is not there, or a provider that breaks off."""
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return Failure(DataApiError("EMBEDDING_PROVIDER_BAD_HOST_NAME", provider=provider, problem=cause))
        cause = cause.__cause__ or cause.__context__
    said = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
    error = DataApiError(
        "EMBEDDING_PROVIDER_SERVER_ERROR",
        provider=provider,
        httpStatus="no HTTP status",
        errorMessage=f"nothing, because the connection failed: {said}",
    )
    return Failure(error, retry=True, down=True)


def status_failure(
    model: EmbeddingModel, response: httpx.Response, keys: Mapping[str, Secret], hidden: int | None = None
) -> Failure:
    """Return what an answer with an error status means; `hidden` is one that stands in the body instead."""
    provider, status = model.provider.id, hidden or response.status_code
    shown = f"HTTP status {status}" if hidden is None else f"HTTP status 200 around {hidden}"
    said = _said(model, response, keys, status)
    if status in (408, 504):
        return timeout_failure(provider, f"it answered HTTP status {status} and said: {said}")
    details: dict[str, Any] = {"provider": provider, "httpStatus": shown, "errorMessage": said}
    wait = retry_after(response.headers.get("retry-after"))
    if status == 429:
        error = DataApiError("EMBEDDING_PROVIDER_RATE_LIMITED", **details)
        return Failure(error, retry=True, wait_seconds=wait, asked=wait is not None, overload=True)
    if status >= 500:
        error = DataApiError("EMBEDDING_PROVIDER_SERVER_ERROR", **details)
        estimate = _estimated_seconds(response)
        return Failure(
            error,
            retry=True,
            wait_seconds=estimate if wait is None else wait,
            asked=wait is not None,
            overload=status == 503 and estimate is None,
            down=estimate is None,
        )
    error = DataApiError("EMBEDDING_PROVIDER_CLIENT_ERROR", **details)
    return Failure(error, content=status in _CONTENT_STATUSES)


def hidden_status(body: Any) -> int | None:
    """Return the error status that a body under HTTP 200 says it has, None where it says none."""
    for path in _HIDDEN_STATUSES:
        value = member_at(body, path)
        number = int(value) if isinstance(value, str) and value.isdigit() and len(value) == 3 else value
        if isinstance(number, int) and not isinstance(number, bool) and 400 <= number < 600:
            return number
    return None


def retry_after(given: str | None) -> float | None:
    """Return the seconds of `Retry-After`, a number or an HTTP date (RFC 9110, section 10.2.3)."""
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


def _said(model: EmbeddingModel, response: httpx.Response, keys: Mapping[str, Secret], status: int) -> str:
    """Return what an error answer says: the message at the provider's place for it, else the whole body."""
    try:
        text = error_text(response.json(), model.provider.error_at)
    except ValueError:
        text = None
    said = text if text is not None else response.text
    for key in keys.values():
        said = key.scrub(said)
    if status in (401, 403):
        said = f"{said.rstrip('. ')}. Check the key: `orrery keys list` shows the stored ones, and how to change them"
    return said if len(said) <= _SHOWN_CHARACTERS else f"{said[:_SHOWN_CHARACTERS]}..."


def _estimated_seconds(response: httpx.Response) -> float | None:
    """Return how long a model still takes to load, which Hugging Face says in its answer."""
    try:
        estimate = response.json().get("estimated_time")
    except (ValueError, AttributeError):
        return None
    return float(estimate) if isinstance(estimate, int | float) and estimate > 0 else None
