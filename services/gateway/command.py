"""A command on its way: what it is, whom it asks, and how it is told from the body of a request."""

import enum
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from services.documents.codec import (
    JsonError,
    JsonObject,
    JsonValue,
    NestingError,
    decode,
    first_text,
    has_repeated_members,
    json_type,
    long_number,
    measure,
)
from services.gateway.collection import Collection
from services.gateway.embedding import Embedding, EmbeddingHeaders
from services.gateway.envelope import Answer
from services.gateway.fields import Fields, shown
from services.gateway.limits import Limits
from services.gateway.number_arrays import put_back, take_out
from services.gateway.observation import EmbeddingCall, current
from services.gateway.storage import Storage
from services.runtime.errors import DataApiError
from services.runtime.roles import Role


class Level(enum.Enum):
    """What the URL of a command names; the value is the word that messages use."""

    DATABASE = "General Command"
    KEYSPACE = "Keyspace Command"
    COLLECTION = "Collection Command"


@dataclass(frozen=True, slots=True)
class Features:
    """What a server offers, as far as requests may ask for it."""

    vectorize: bool = True
    lexical: bool = False
    reranking: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What a command has to work with: where it was sent, the services, and the server's settings.

    `warnings` are added to the answer.
    """

    database: str
    keyspace: str
    collection: str
    storage: Storage
    embedding: Embedding
    limits: Limits
    features: Features
    embedding_headers: EmbeddingHeaders
    warnings: list[DataApiError]

    async def embed(self, collection: Collection, text: str, *, search: bool) -> bytes:
        """Return the vector of a text, little-endian float32; `search` tells one to search with."""
        (vector,) = await self.embed_all(collection, [text], search=search)
        if isinstance(vector, DataApiError):
            raise vector
        return vector

    async def embed_all(
        self, collection: Collection, texts: Sequence[str], *, search: bool = False, partial: bool = False
    ) -> Sequence[bytes | DataApiError]:
        """Return the vector of each text; with `partial` the error of each that fails alone."""
        started = time.perf_counter()
        try:
            answer = await self.embedding.embed(
                collection, texts, self.embedding_headers, search=search, partial=partial
            )
        finally:
            _note_embedding(collection, texts, time.perf_counter() - started)
        self.warnings.extend(answer.warnings)
        return answer.vectors

    async def on_collection(self, command: Callable[[Collection], Awaitable[Answer]]) -> Answer:
        """Run a command on the collection that the URL names."""

        async def noted(collection: Collection) -> Answer:
            current().collection = collection
            return await command(collection)

        return await self.storage.on_collection(self.database, self.keyspace, self.collection, noted)


def _note_embedding(collection: Collection, texts: Sequence[str], seconds: float) -> None:
    vector = collection.options.vector
    if vector and vector.service:
        size = sum(len(text.encode()) for text in texts)
        current().embeddings.append(EmbeddingCall(vector.service.provider, vector.service.model_name, size, seconds))


Handler = Callable[[Context, Fields], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Command:
    """A command that the gateway knows: its name, level, the role that it needs, its members, and what runs it.

    `replacement` is the name of the command to use instead of a deprecated one.
    """

    name: str
    level: Level
    role: Role
    members: tuple[str, ...]
    run: Handler
    replacement: str | None = None


def parse_body(body: bytes, level: Level, commands: Mapping[str, Command], limits: Limits) -> tuple[Command, Fields]:
    """Return the command of a body and its members.

    Raises `DataApiError`: `REQUEST_NOT_JSON`, `SHRED_DOC_LIMIT_VIOLATION`, `COMMAND_FIELD_VALUE_INVALID` (no
    command), `REQUEST_STRUCTURE_MISMATCH`, `COMMAND_UNKNOWN` or `COMMAND_FIELD_UNKNOWN`.
    """
    value = _decode_with_arrays(body, limits)
    if value is None:
        value = _decode_body(body, limits)
    if value is None:
        raise DataApiError(
            "COMMAND_FIELD_VALUE_INVALID", field="command", value=shown(None), problem="it must not be null"
        )
    if not isinstance(value, dict):
        raise DataApiError("REQUEST_STRUCTURE_MISMATCH", problem=f"the body is of JSON type {json_type(value)}")
    if len(value) != 1:
        names = ", ".join(value) or "none"
        raise DataApiError(
            "REQUEST_STRUCTURE_MISMATCH", problem=f"the body has {len(value)} members ({names}) instead of one"
        )
    name, arguments = next(iter(value.items()))
    command = commands.get(name)
    if command is None or command.level is not level:
        known = ", ".join(sorted(item.name for item in commands.values() if item.level is level))
        raise DataApiError("COMMAND_UNKNOWN", command=name, commandType=level.value, knownCommands=known)
    return command, Fields(_arguments(name, arguments), command.members, place=name)


def _arguments(name: str, value: JsonValue) -> JsonObject:
    if not isinstance(value, dict):
        problem = f"the value of '{name}' must be an object, found {json_type(value)}"
        raise DataApiError("REQUEST_STRUCTURE_MISMATCH", problem=problem)
    return value


def _decode_with_arrays(body: bytes, limits: Limits) -> JsonValue:
    """Return the value of a body whose vectors were read apart; None where `_decode_body` has to decide."""
    rest, arrays = take_out(body, limits.insert_many_documents)
    if not arrays:
        return None
    try:
        value = decode(rest)
    except JsonError:
        return None
    sizes = measure(value)
    # The places of the arrays are five levels deep at most.
    within = max(sizes.depth, 5) <= limits.nesting_depth and sizes.longest_name <= limits.member_name_characters
    if not within or has_repeated_members(rest, value, sizes.members) or long_number(body, limits.number_characters):
        return None
    return value if put_back(value, arrays, limits.insert_many_documents) else None


def _decode_body(body: bytes, limits: Limits) -> JsonValue:
    if not body.strip():
        return None
    try:
        value = decode(body)
    except NestingError:
        raise _too_large(f"the body is nested over {limits.nesting_depth} levels deep") from None
    except JsonError as error:
        # The reference reads one object and no further: a stray brace behind it does no harm.
        first = first_text(body)
        if len(first) < len(body.strip()):
            return _decode_body(first, limits)
        raise DataApiError("REQUEST_NOT_JSON", problem=str(error)) from None
    sizes = measure(value)
    if sizes.depth > limits.nesting_depth:
        raise _too_large(f"the body is nested over {limits.nesting_depth} levels deep")
    if has_repeated_members(body, value, sizes.members):
        raise DataApiError("REQUEST_NOT_JSON", problem="an object has two members of the same name")
    if sizes.longest_name > limits.member_name_characters:
        raise _too_large(f"a member's name has {sizes.longest_name} characters, over {limits.member_name_characters}")
    length = long_number(body, limits.number_characters)
    if length is not None:
        raise _too_large(f"a number has {length} characters, over {limits.number_characters}")
    return value


def _too_large(problem: str) -> DataApiError:
    return DataApiError("SHRED_DOC_LIMIT_VIOLATION", problem=problem)
