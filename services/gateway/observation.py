"""What is known of one HTTP request while it is answered: for its log lines, its metrics and its trace."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from services.gateway.traits import NO_TRAITS, Traits, traits
from services.runtime.traces import NO_SPAN, Span

if TYPE_CHECKING:
    from services.gateway.collection import Collection
    from services.gateway.fields import Fields


class Call(NamedTuple):
    """A call of another service; `code` is `OK` or that of its error, `seconds` include waiting for the connection."""

    service: str
    method: str
    code: str
    seconds: float


class EmbeddingCall(NamedTuple):
    """Texts of so many bytes together that were embedded, whatever became of it."""

    provider: str
    model: str
    size: int
    seconds: float


@dataclass(slots=True)
class Observation:
    """One request.

    `path_names` is how many names its path has below `/v1`, None where the path is not there. `command` and `fields`
    are None until the body is understood, `collection` until it is known. `written_bytes` are of documents that were
    sent to be stored whole. `span` is its place in a trace.
    """

    database: str = ""
    span: Span = NO_SPAN
    keyspace: str = ""
    name: str = ""
    path_names: int | None = None
    started: float = field(default_factory=time.perf_counter)
    command: str | None = None
    fields: Fields | None = None
    collection: Collection | None = None
    calls: list[Call] = field(default_factory=list)
    embeddings: list[EmbeddingCall] = field(default_factory=list)
    body_bytes: int = 0
    written_bytes: int = 0
    _traits: Traits | None = None

    def understood(self, command: str, fields: Fields) -> None:
        """Note which command it is, with its members."""
        self.command, self.fields = command, fields

    def spent(self, service: str) -> float:
        """Return the seconds that passed in another service; calls that ran side by side count each."""
        return sum(call.seconds for call in self.calls if call.service == service)

    @property
    def traits(self) -> Traits:
        """What the command's members say of its kind."""
        if self._traits is None:
            self._traits = NO_TRAITS if self.fields is None else traits(self.fields.members)
        return self._traits


_CURRENT: ContextVar[Observation | None] = ContextVar("observation", default=None)


def observe(observation: Observation) -> None:
    """Have `current` return this one for the rest of the running task."""
    _CURRENT.set(observation)


def current() -> Observation:
    """Return the observation of the request that the running task answers; one that nobody reads outside of them."""
    return _CURRENT.get() or Observation()
