"""The HTTP side of the gateway: routes, authentication, size limits and the envelope. An ASGI application."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import structlog

from services.gateway.access import Access, Caller
from services.gateway.command import Command, Context, Features, Level, parse_body
from services.gateway.commands import COMMANDS
from services.gateway.embedding import Embedding, EmbeddingHeaders
from services.gateway.envelope import Answer
from services.gateway.fields import Fields
from services.gateway.hosts import InvalidHostError
from services.gateway.limits import Limits
from services.gateway.observation import current
from services.gateway.observer import Observer
from services.gateway.pages import Pages
from services.gateway.storage import Storage
from services.runtime.errors import DataApiError
from services.runtime.roles import Role
from services.runtime.traces import TRACE_HEADER, span

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
#: Status, body, and headers besides its length and type.
Response = tuple[int, bytes, Sequence[tuple[bytes, bytes]]]

#: `/v1`, `/v1/{keyspace}` and `/v1/{keyspace}/{collection}`; clients in their Astra mode put `/api/json` before.
_ROUTE = re.compile(r"(?:/api/json)?/v1(?:/([^/]+)(?:/([^/]+))?)?")
_LEVELS = (Level.DATABASE, Level.KEYSPACE, Level.COLLECTION)
_EMBEDDING_HEADERS = frozenset(
    (b"x-embedding-api-key", b"x-embedding-access-id", b"x-embedding-secret-id", b"x-embedding-cache")
)
_NO_EMBEDDING_HEADERS = EmbeddingHeaders()
_JSON = (b"content-type", b"application/json")
#: How long the next part of a body that is too large is waited for, and how much of it is read, in body limits.
_DISCARD_SECONDS = 0.5
_DISCARD_LIMITS = 4

#: A name is shown so far in the audit log.
_AUDITED_CHARACTERS = 100

#: Codes of a command that was not understood: it does not come to the warning that its name is deprecated.
_UNREAD = frozenset(
    ("REQUEST_STRUCTURE_MISMATCH", "COMMAND_FIELD_UNKNOWN", "COMMAND_FIELD_VALUE_INVALID", "COMMAND_ACCEPTS_NO_OPTIONS")
)

log = structlog.get_logger(__name__)


class BodyTooLargeError(Exception):
    """A body over the limit: answered 413 without an envelope."""


@dataclass(frozen=True, slots=True)
class Application:
    """The gateway as an ASGI application. `pages` answers what is not the Data API itself."""

    access: Access
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
        with span("HTTP", "server", headers.get(TRACE_HEADER.encode(), b"").decode("latin-1")) as traced:
            observed = self.observer.began(self.access.default, headers, traced)
            status, body, more = await self._respond(scope, receive, headers)
            await _send(send, status, body, (*more, _JSON) if body else more)
            self.observer.answered(observed, scope, status, len(body))

    async def _respond(self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]) -> Response:
        path = scope["path"]
        route = _ROUTE.fullmatch((scope.get("raw_path") or path.encode()).decode("ascii", "replace"))
        if route is None:
            return 404, b"", ()
        names = [unquote(name) for name in route.groups() if name is not None]
        current().path_names = len(names)
        try:
            caller = await self.access.admit(scope["headers"], _address(scope))
            if scope["method"] != "POST":
                return 405, b"", ()
            _check_content_type(headers)
            body = await _read_body(receive, headers, self.limits.body_bytes)
        except DataApiError as error:
            return _response(Answer(errors=[error]))
        except InvalidHostError:
            return 400, b"", ()
        except BodyTooLargeError:
            await _discard_body(receive, headers, _DISCARD_LIMITS * self.limits.body_bytes)
            return 413, b"", ()
        return _response(await self._run(body, names, headers, caller))

    async def _run(self, body: bytes, names: list[str], headers: Mapping[bytes, bytes], caller: Caller) -> Answer:
        command: Command | None = None
        context = self._context(names, headers, caller.database)
        observed = current()
        observed.database, observed.body_bytes = context.database, len(body)
        observed.keyspace, observed.name = context.keyspace, context.collection
        fields: Fields | None = None
        try:
            command, fields = parse_body(body, _LEVELS[len(names)], COMMANDS, self.limits)
            observed.understood(command.name, fields)
            caller.check(command.role, command.name)
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
        if command is not None and fields is not None:
            await self._audit(command, fields, context, caller, answer)
        self.observer.finished(observed, answer)
        return answer

    async def _audit(self, command: Command, fields: Fields, context: Context, caller: Caller, answer: Answer) -> None:
        """Have it in the audit log who changed the schema, and who was not allowed to do something."""
        denied = "UNAUTHORIZED_ACCESS" in answer.codes
        if command.role is not Role.ADMIN and not denied:
            return
        name = fields.get("name")
        details = {
            "token": caller.token_id,
            "token_name": caller.token_name,
            "address": caller.address,
            "database": context.database,
            "keyspace": context.keyspace or None,
            "collection": context.collection or None,
            "name": name[:_AUDITED_CHARACTERS] if isinstance(name, str) else None,
        }
        if denied:
            self.access.audit.denied(command.name, role=caller.role, **details)
        else:
            await self.access.audit.add(command.name, **details, errors=answer.codes)

    def _context(self, names: list[str], headers: Mapping[bytes, bytes], database: str) -> Context:
        return Context(
            database=database,
            keyspace=names[0] if names else "",
            collection=names[1] if len(names) > 1 else "",
            storage=self.storage,
            embedding=self.embedding,
            limits=self.limits,
            features=self.features,
            warnings=[],
            embedding_headers=_NO_EMBEDDING_HEADERS
            if _EMBEDDING_HEADERS.isdisjoint(headers)
            else EmbeddingHeaders(
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


def _response(answer: Answer) -> Response:
    return answer.http_status, answer.encode(), answer.headers


def _address(scope: Scope) -> str:
    """Return the remote address; none where the caller has none."""
    client = scope.get("client")
    return str(client[0]) if client else ""


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
