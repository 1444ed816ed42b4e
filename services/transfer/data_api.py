"""A Data API over HTTP: commands out, answers in; what may succeed later is told from what cannot."""

import asyncio
import ipaddress
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from services.transfer.errors import RefusedError, TransferError, UsageError

_ASTRA_HOST = ".apps.astra.datastax.com"
_FIRST_SECONDS = 10.0
_TOO_MANY, _TOO_LARGE = 429, 413

#: The endpoint refuses every document alike: sending the others would only make more of the same errors.
FATAL_CODES = frozenset(
    {
        "MISSING_AUTHENTICATION_TOKEN",
        "UNAUTHENTICATED_REQUEST",
        "UNAUTHORIZED_ACCESS",
        "UNKNOWN_DATABASE",
        "UNKNOWN_KEYSPACE",
        "UNKNOWN_COLLECTION_OR_TABLE",
        "UNSUPPORTED_COLLECTION_COMMAND",
        "COMMAND_UNKNOWN",
        "EMBEDDING_SERVICE_NOT_CONFIGURED",
        "EMBEDDING_PROVIDER_AUTHENTICATION_KEYS_NOT_PROVIDED",
        "VECTOR_SEARCH_NOT_SUPPORTED",
        "VECTORIZE_FEATURE_NOT_AVAILABLE",
        "VECTORIZE_CREDENTIAL_INVALID",
    }
)
#: Errors of the family SERVER that a document or the settings cause, so that trying again changes nothing.
_LASTING_SERVER_CODES = frozenset(
    {
        "EMBEDDING_PROVIDER_CLIENT_ERROR",
        "EMBEDDING_PROVIDER_AUTHENTICATION_KEYS_NOT_PROVIDED",
        "INVALID_DATABASE_QUERY",
        "CORRUPTED_COLLECTION_SCHEMA",
    }
)


class Problem(msgspec.Struct, frozen=True, rename="camel"):
    """One error of an answer."""

    message: str = ""
    error_code: str = "UNKNOWN"
    family: str = ""

    @property
    def transient(self) -> bool:
        """Whether the same command may succeed later."""
        return self.family == "SERVER" and self.error_code not in _LASTING_SERVER_CODES

    @property
    def slow(self) -> bool:
        """Whether a smaller command may succeed where this one took too long."""
        return "TIMEOUT" in self.error_code


class Answer(msgspec.Struct, frozen=True):
    """The answer to a command. `data` is the text of that member, empty where there is none."""

    data: msgspec.Raw = msgspec.Raw(b"")
    status: dict[str, Any] = {}
    errors: tuple[Problem, ...] = ()


class TransientError(Exception):
    """A request failed in a way that may pass. `slow` when it was not answered in time."""

    def __init__(self, message: str, *, retry_after: float | None = None, slow: bool = False) -> None:
        self.retry_after = retry_after
        self.slow = slow
        super().__init__(message)


class TooLargeError(Exception):
    """The endpoint takes no body of this size."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a Data API is, and what opens it. Token and headers show nowhere."""

    url: str
    keyspace: str = "default_keyspace"
    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            # The text itself is not shown: it may hold a password.
            raise UsageError("the endpoint is no URL of http or https: write it as http://127.0.0.1:8181")

    @property
    def host(self) -> str:
        """Host and port, without what else a URL may hold (a password, say)."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)

    @property
    def base(self) -> str:
        """The URL that `/v1` follows."""
        parts = urlsplit(self.url)
        if str(parts.hostname).endswith(_ASTRA_HOST) and parts.path in ("", "/"):
            return f"{self.url.rstrip('/')}/api/json"
        if self.named_here:
            port = f":{parts.port}" if parts.port else ""
            parts = parts._replace(netloc=f"127.0.0.1{port}")
        return parts.geturl().rstrip("/").removesuffix("/v1")

    @property
    def named_here(self) -> bool:
        """Whether it is a name below `localhost`: this machine (RFC 6761), though not every system resolves it so."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and str(parts.hostname).endswith(".localhost")

    @property
    def database(self) -> str | None:
        """The database that the host name chooses; None where it does not show which."""
        return str(urlsplit(self.url).hostname).removesuffix(".localhost") if self.named_here else None

    @property
    def local(self) -> bool:
        """Whether it is on this machine, where a proxy has no business."""
        host = str(urlsplit(self.url).hostname)
        try:
            return host == "localhost" or self.named_here or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


class Patience:
    """How long failures that may pass are borne: pauses that grow, until `seconds` are over without a success."""

    def __init__(self, seconds: float, first_pause: float = 0.25, last_pause: float = 15.0) -> None:
        self._seconds = seconds
        self._next = self._first = first_pause
        self._last = last_pause
        self._since: float | None = None

    def restore(self) -> None:
        """Something succeeded: begin anew."""
        self._since = None
        self._next = self._first

    async def pause(self, problem: str, retry_after: float | None = None) -> None:
        """Wait before trying again. Raises `TransferError` with the problem once patience is at its end."""
        now = time.monotonic()
        self._since = self._since or now
        wait = self._next * random.uniform(0.5, 1.0) if retry_after is None else retry_after  # noqa: S311
        self._next = min(self._next * 2, self._last)
        if self._seconds <= 0:
            raise TransferError(problem)
        if now + wait - self._since > self._seconds:
            raise TransferError(
                f"gave up after {now - self._since:.0f} s of trying again: {problem}. Nothing that was acknowledged is "
                "lost: run the same command again to go on"
            )
        await asyncio.sleep(wait)


class DataApi:
    """The commands of one keyspace. Used as a context manager."""

    def __init__(self, endpoint: Endpoint, *, timeout: float, patience: float, connections: int = 16) -> None:
        self.endpoint = endpoint
        self.patience_seconds = patience
        headers = {"Content-Type": "application/json", "User-Agent": "orrery", **endpoint.headers}
        if endpoint.token:
            headers["Token"] = endpoint.token
        if endpoint.named_here:
            headers["Host"] = endpoint.host
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0), pool=None),
            trust_env=not endpoint.local,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )
        self._decoder = msgspec.json.Decoder(Answer)

    async def __aenter__(self) -> "DataApi":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def once(self, command: bytes, collection: str | None = None) -> Answer:
        """Send a command of the keyspace, or of a collection, once.

        Raises `TransientError` for what may pass, `TooLargeError`, `RefusedError` for what lasts; errors in the answer
        are the caller's.
        """
        path = f"/v1/{self.endpoint.keyspace}" + (f"/{collection}" if collection else "")
        try:
            response = await self._http.post(self.endpoint.base + path, content=command)
        except httpx.TimeoutException as problem:
            slow = not isinstance(problem, httpx.ConnectTimeout)
            raise TransientError(f"{self.endpoint.host} did not answer in time", slow=slow) from None
        except httpx.TransportError as problem:
            raise TransientError(f"{self.endpoint.host} cannot be reached: {problem}") from None
        if response.status_code == _TOO_LARGE:
            raise TooLargeError
        if response.status_code == _TOO_MANY or response.status_code >= 500:
            raise TransientError(
                f"{self.endpoint.host} answered HTTP {response.status_code}", retry_after=_retry_after(response)
            )
        try:
            return self._decoder.decode(response.content)
        except msgspec.DecodeError:
            raise RefusedError(
                f"HTTP {response.status_code}",
                f"{self.endpoint.host}{path} did not answer as a Data API does: is the endpoint right?",
            ) from None

    async def run(
        self, name: str, members: dict[str, Any], collection: str | None = None, *, most_seconds: float = math.inf
    ) -> Answer:
        """Run a command that can be repeated without harm, again while that may help.

        Raises `RefusedError` for the first error of an answer, `TransferError` when patience is at its end.
        """
        patience = Patience(min(self.patience_seconds, most_seconds))
        command = msgspec.json.encode({name: members})
        while True:
            try:
                answer = await self.once(command, collection)
            except TransientError as problem:
                await patience.pause(str(problem), problem.retry_after)
                continue
            except TooLargeError:
                raise RefusedError("HTTP 413", f"{self.endpoint.host} takes no command of this size") from None
            if not answer.errors:
                return answer
            first = answer.errors[0]
            if not first.transient:
                raise RefusedError(first.error_code, first.message)
            await patience.pause(first.message)

    async def options_of(self, collection: str) -> dict[str, Any] | None:
        """Return the options of a collection, as findCollections explains them; None where it is not there."""
        # Commands begin with this: an endpoint that is not there is to be told at once, not after all patience.
        answer = await self.run("findCollections", {"options": {"explain": True}}, most_seconds=_FIRST_SECONDS)
        for item in answer.status.get("collections", ()):
            if item.get("name") == collection:
                return dict(item.get("options") or {})
        return None


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that the header asks to wait; a date there is passed over."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), 60.0) if text.isdigit() else None
