"""The error catalogue: every error a caller can see, raised by its code.

`errors.yaml` is the catalogue; this module reads it, renders messages from it and defines the one exception
that carries an error from where it happens to the caller, through RPCs included (see `rpc.py`).
"""

import string
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Self

import msgspec

#: One value of a message is cut at this length: messages travel in trailing metadata, which is bounded.
MAX_VALUE_CHARACTERS = 2000


class ErrorDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the catalogue.

    `message` is a `str.format` template; the names in it are the details that whoever raises the error gives.
    `http` is the status of the HTTP answer. `grpc` names the gRPC status code.
    """

    code: str
    family: str
    title: str
    message: str
    scope: str = ""
    http: int = 200
    grpc: str = "INVALID_ARGUMENT"

    @property
    def details(self) -> frozenset[str]:
        """Names that the message takes."""
        return frozenset(name for _, name, _, _ in string.Formatter().parse(self.message) if name)


class ErrorCatalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file `errors.yaml`."""

    errors: list[ErrorDefinition]


@cache
def catalogue() -> Mapping[str, ErrorDefinition]:
    """Return the catalogue by code.

    Raises `ValueError` when a code is defined twice, `msgspec.ValidationError` when the file is malformed.
    """
    text = files("services.runtime").joinpath("errors.yaml").read_bytes()
    parsed = msgspec.yaml.decode(text, type=ErrorCatalogue)
    by_code = {definition.code: definition for definition in parsed.errors}
    if len(by_code) != len(parsed.errors):
        raise ValueError("errors.yaml defines a code twice")
    return by_code


class ConfigurationError(Exception):
    """A service cannot start as it is configured; the message says why and what to do. Shown without a traceback."""


class DataApiError(Exception):
    """An error of the catalogue, with what its message names.

    `details` are the values of the template; `document_ids` are the JSON texts of the ids of the documents
    concerned. Neither may hold a secret: both reach callers and logs.

    Raises `KeyError` when made with a code that is not in the catalogue or without a detail it names.
    """

    def __init__(self, code: str, *, document_ids: tuple[bytes, ...] = (), **details: object) -> None:
        self.definition = catalogue()[code]
        self.details = {name: _shorten(str(value)) for name, value in details.items()}
        self.document_ids = document_ids
        self.message = self.definition.message.format_map(self.details).strip()
        super().__init__(self.message)

    @property
    def code(self) -> str:
        """The code, such as `UNKNOWN_KEYSPACE`."""
        return self.definition.code

    def about(self, *document_ids: bytes) -> Self:
        """Say which documents the error concerns, by the JSON texts of their ids."""
        self.document_ids = document_ids
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.code, self.document_ids, self.details)


def _rebuild(code: str, document_ids: tuple[bytes, ...], details: dict[str, str]) -> DataApiError:
    return DataApiError(code, document_ids=document_ids, **details)


def _shorten(value: str) -> str:
    if len(value) <= MAX_VALUE_CHARACTERS:
        return value
    return f"{value[:MAX_VALUE_CHARACTERS]}...[cut from {len(value)} to {MAX_VALUE_CHARACTERS} characters]"
