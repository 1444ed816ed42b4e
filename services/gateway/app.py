"""The HTTP side of the gateway: routes, authentication, size limits and the envelope. An ASGI application."""

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import structlog

from services.gateway.command import Command, Context, Features, Level, parse_body
from services.gateway.commands import COMMANDS
from services.gateway.embedding import Embedding, EmbeddingHeaders
from services.gateway.envelope import Answer
from services.gateway.limits import Limits
from services.gateway.observation import current
from services.gateway.observer import Observer
from services.gateway.pages import Pages
from services.gateway.storage import Storage
from services.runtime.errors import DataApiError

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

#: `/v1`, `/v1/{keyspace}` and `/v1/{keyspace}/{collection}`; clients in their Astra mode put `/api/json` before.
_ROUTE = re.compile(r"(?:/api/json)?/v1(?:/([^/]+)(?:/([^/]+))?)?")
_LEVELS = (Level.DATABASE, Level.KEYSPACE, Level.COLLECTION)
_JSON = ((b"content-type", b"application/json"),)
_TOKEN_HEADERS = (b"token", b"x-cassandra-token")
#: How long the next part of a body that is too large is waited for, and how much of it is read, in body limits.
_DISCARD_SECONDS = 0.5
_DISCARD_LIMITS = 4

#: Codes of a command that was not understood: it does not come to the warning that its name is deprecated.
_UNREAD = frozenset(
    ("REQUEST_STRUCTURE_MISMATCH", "COMMAND_FIELD_UNKNOWN", "COMMAND_FIELD_VALUE_INVALID", "COMMAND_ACCEPTS_NO_OPTIONS")
)

log = structlog.get_logger(__name__)


class BodyTooLargeError(Exception):
    """A body over the limit: answered 413 without an envelope."""


@dataclass(frozen=True, slots=True)
class Application:
    """The gateway as an ASGI application.

    `token` None asks for no token at all. `pages` answers what is not the Data API itself.
    """

    database: str
    token: str | None = field(repr=False)
    storage: Storage
    embedding: Embedding
    limits: Limits
    features: Features
    pages: Pages
    observer: Observer = field(default_factory=Observer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        page = await self.pages.answer(scope["method"], scope["path"], headers, scope.get("query_string", b""))
        if page is not None:
            await _send(send, page.status, page.body, page.headers)
            return
        observed = self.observer.began(self.database, headers)
        status, body = await self._respond(scope, receive, headers)
        await _send(send, status, body, _JSON if body else ())
        self.observer.answered(observed, scope, status, len(body))

    async def _respond(self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]) -> tuple[int, bytes]:
        path = scope["path"]
        route = _ROUTE.fullmatch((scope.get("raw_path") or path.encode()).decode("ascii", "replace"))
        if route is None:
            return 404, b""
        names = [unquote(name) for name in route.groups() if name is not None]
        current().path_names = len(names)
        try:
            self._authenticate(headers)
            if scope["method"] != "POST":
                return 405, b""
            _check_content_type(headers)
            body = await _read_body(receive, headers, self.limits.body_bytes)
        except DataApiError as error:
            answer = Answer(errors=[error])
            return answer.http_status, answer.encode()
        except BodyTooLargeError:
            await _discard_body(receive, headers, _DISCARD_LIMITS * self.limits.body_bytes)
            return 413, b""
        answer = await self._run(body, names, headers)
        return answer.http_status, answer.encode()

    async def _run(self, body: bytes, names: list[str], headers: Mapping[bytes, bytes]) -> Answer:
        command: Command | None = None
        context = self._context(names, headers)
        observed = current()
        observed.database, observed.body_bytes = context.database, len(body)
        observed.keyspace, observed.name = context.keyspace, context.collection
        try:
            command, fields = parse_body(body, _LEVELS[len(names)], COMMANDS, self.limits)
            observed.understood(command.name, fields)
            answer = await command.run(context, fields)
            answer.warnings.extend(context.warnings)
        except DataApiError as error:
            answer = Answer(errors=[error])
        except ExceptionGroup as group:
            answer = Answer(errors=_errors_of(group))
        except Exception as problem:
            name = command.name if command else "request"
            log.error("unexpected error", command=name, exc_info=problem)
            answer = Answer(
                errors=[DataApiError("UNEXPECTED_SERVER_ERROR", errorClass=type(problem).__name__, where=name)]
            )
        if command is not None and command.replacement is not None and not _UNREAD.intersection(answer.codes):
            answer.warnings.append(
                DataApiError(
                    "DEPRECATED_COMMAND",
                    deprecatedCommand=command.name,
                    replacementCommand=command.replacement,
                )
            )
        self.observer.finished(observed, answer)
        return answer

    def _authenticate(self, headers: Mapping[bytes, bytes]) -> None:
        given = next((headers[name] for name in _TOKEN_HEADERS if name in headers), None)
        if self.token is None:
            return
        if given is None:
            raise DataApiError("MISSING_AUTHENTICATION_TOKEN", authHeader="Token")
        if not hmac.compare_digest(given, self.token.encode()):
            raise DataApiError("UNAUTHENTICATED_REQUEST")

    def _context(self, names: list[str], headers: Mapping[bytes, bytes]) -> Context:
        return Context(
            database=self.database,
            keyspace=names[0] if names else "",
            collection=names[1] if len(names) > 1 else "",
            storage=self.storage,
            embedding=self.embedding,
            limits=self.limits,
            features=self.features,
            warnings=[],
            embedding_headers=EmbeddingHeaders(
                api_key=headers.get(b"x-embedding-api-key", b"").decode("latin-1"),
                access_id=headers.get(b"x-embedding-access-id", b"").decode("latin-1"),
                secret_id=headers.get(b"x-embedding-secret-id", b"").decode("latin-1"),
                cache=headers.get(b"x-embedding-cache", b"").lower() != b"off",
            ),
        )


async def _send(send: Send, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


def _check_content_type(headers: Mapping[bytes, bytes]) -> None:
    given = headers.get(b"content-type", b"").decode("latin-1")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise DataApiError("UNSUPPORTED_CONTENT_TYPE", contentType=given or "none")


async def _read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLargeError
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        part = event.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLargeError
        parts.append(part)
        if not event.get("more_body"):
            return b"".join(parts)


async def _discard_body(receive: Receive, headers: Mapping[bytes, bytes], most: int) -> None:
    """Read what a caller still sends of a body: one whose connection closes while it sends never sees the answer.

    A caller that expects to be told whether to send it (`Expect: 100-continue`) is answered at once.
    """
    size = 0
    while size <= most and b"expect" not in headers:
        try:
            event = await asyncio.wait_for(receive(), _DISCARD_SECONDS)
        except TimeoutError:
            return
        size += len(event.get("body", b""))
        if not event.get("more_body"):
            return


def _errors_of(group: BaseExceptionGroup[Exception]) -> list[DataApiError]:
    errors = [error for error in group.exceptions if isinstance(error, DataApiError)]
    if len(errors) != len(group.exceptions):
        raise group
    return errors
