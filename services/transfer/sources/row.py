"""A row of a source: an object, or why there is none."""

from dataclasses import dataclass

from services.documents.codec import JsonObject, JsonValue


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a row was not loaded: a code, and a message for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row, counted from 1. `content` is what was read, as a rejects file shows it."""

    number: int
    content: JsonValue
    problem: Rejection | None = None

    @classmethod
    def bad(cls, number: int, content: JsonValue, code: str, message: str) -> "Row":
        """Return a row that cannot be a document."""
        return cls(number, content, Rejection(code, message))

    @property
    def fields(self) -> JsonObject:
        """The members of a row without a problem."""
        return self.content if isinstance(self.content, dict) else {}
