"""The HTTP side of the gateway: routes, authentication, size limits and the envelope."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

import structlog

from services.gateway.access import Access, Caller
from services.gateway.command import Command, Context, Features, Level, parse_body
from services.gateway.commands import COMMANDS
from services.gateway.embedding import Embedding, EmbeddingHeaders
from services.gateway.envelope import Answer
from services.gateway.exchange import Request, Response
from services.gateway.fields import Fields
from services.gateway.hosts import InvalidHostError
from services.gateway.http.body import BodyTooLargeError
from services.gateway.limits import Limits
from services.gateway.observation import current
from services.gateway.observer import Observer
from services.gateway.pages import Pages
from services.gateway.storage import Storage
from services.runtime.errors import DataApiError
from services.runtime.roles import Role
from services.runtime.traces import TRACE_HEADER, span

#: `/v1`, `/v1/{keyspace}` and `/v1/{keyspace}/{collection}`; clients in their Astra mode put `/api/json` before.
_ROUTE = re.compile(r"(?:/api/json)?/v1(?:/([^/]+)(?:/([^/]+))?)?")
_LEVELS = (Level.DATABASE, Level.KEYSPACE, Level.COLLECTION)
_EMBEDDING_HEADERS = frozenset(
    (b"x-embedding-api-key", b"x-embedding-access-id", b"x-embedding-secret-id", b"x-embedding-cache")
)
_NO_EMBEDDING_HEADERS = EmbeddingHeaders()
_JSON = (b"content-type", b"application/json")
_TRACE = TRACE_HEADER.encode()

#: A name is shown so far in the audit log.
_AUDITED_CHARACTERS = 100

#: Codes of a command that was not understood: it does not come to the warning that its name is deprecated.
_UNREAD = frozenset(
    ("REQUEST_STRUCTURE_MISMATCH", "COMMAND_FIELD_UNKNOWN", "COMMAND_FIELD_VALUE_INVALID", "COMMAND_ACCEPTS_NO_OPTIONS")
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Application:
    """The gateway's answers to requests over HTTP. `pages` answers what is not the Data API itself."""

    access: Access
    storage: Storage
    embedding: Embedding
    limits: Limits
    features: Features
    pages: Pages
    observer: Observer = field(default_factory=Observer)

    async def __call__(self, request: Request) -> Response:
        """Answer one request. Raises `IncompleteBodyError`."""
        page = await self.pages.answer(request)
        if page is not None:
            return page
        with span("HTTP", "server", request.headers.get(_TRACE, b"").decode("latin-1")) as traced:
            observed = self.observer.began(self.access.default, request.headers, traced)
            response = await self._respond(request)
            self.observer.answered(observed, request, response)
            return response

    async def _respond(self, request: Request) -> Response:
        route = _ROUTE.fullmatch(request.raw_path)
        if route is None:
            return Response(404)
        names = [unquote(name) for name in route.groups() if name is not None]
        current().path_names = len(names)
        try:
            caller = await self.access.admit(request.every_header, request.address)
            if request.method != "POST":
                return Response(405)
            _check_content_type(request.headers)
            body = await request.body.read(self.limits.body_bytes)
        except DataApiError as error:
            return _response(Answer(errors=[error]))
        except InvalidHostError:
            return Response(400)
        except BodyTooLargeError:
            return Response(413)
        return _response(await self._run(body, names, request.headers, caller))

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


def _response(answer: Answer) -> Response:
    return Response(answer.http_status, answer.encode(), (*answer.headers, _JSON))


def _check_content_type(headers: Mapping[bytes, bytes]) -> None:
    given = headers.get(b"content-type", b"").decode("latin-1")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise DataApiError("UNSUPPORTED_CONTENT_TYPE", contentType=given or "none")


def _errors_of(group: BaseExceptionGroup[Exception]) -> list[DataApiError]:
    errors = [error for error in group.exceptions if isinstance(error, DataApiError)]
    if len(errors) != len(group.exceptions):
        raise group
    return errors
