"""Calls, and the texts that callers wait for: who waits for which, and what each gets."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.embedder.check import Service
from services.embedder.entries import Purpose
from services.embedder.providers.wire import Float32
from services.embedder.secret import Secret
from services.runtime.errors import DataApiError
from services.runtime.traces import origin


@dataclass(frozen=True, slots=True)
class EmbedCall:
    """Texts to embed for a database.

    `deadline` is in `time.monotonic` seconds; `request_keys` are secrets that came with the request, by header.
    `partial` takes errors of single texts instead of failing; `cache` False neither reads nor fills the cache.
    """

    database: str
    service: Service
    texts: Sequence[str]
    deadline: float
    request_keys: Mapping[str, Secret] = field(default_factory=dict)
    purpose: Purpose = "document"
    partial: bool = False
    cache: bool = True


@dataclass(frozen=True, slots=True)
class Cut:
    """A text that was too long and was cut: its position in the call, and the characters that were embedded."""

    index: int
    characters: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors float32[n, d] in the order of the texts, the tokens that the provider counted, and what is to be said.

    `failures` are errors by index where partial results were asked for; their vectors are zeros. `cuts` are texts
    that were too long and were cut; `warnings` are of budgets. `cached` texts were not asked for.
    """

    vectors: Float32
    prompt_tokens: int
    total_tokens: int
    failures: Mapping[int, DataApiError] = field(default_factory=dict)
    cuts: Sequence[Cut] = ()
    warnings: Sequence[str] = ()
    cached: int = 0


@dataclass(slots=True)
class Outcome:
    """What a call got: float32[n, d], tokens of each text as int64[n] (0 where nothing was asked), and the rest.

    `failures` are errors by index, in calls that take partial results; their rows are zeros.
    """

    vectors: Float32
    tokens: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    failures: dict[int, DataApiError] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)
    cached: int = 0


class PendingCall:
    """One caller's texts on their way. `deadline` is in `time.monotonic` seconds."""

    __slots__ = ("database", "deadline", "done", "gone", "missing", "origin", "outcome", "partial", "purpose", "texts")

    def __init__(
        self, database: str, purpose: Purpose, count: int, dimension: int, deadline: float, *, partial: bool = False
    ) -> None:
        self.database = database
        self.purpose = purpose
        self.deadline = deadline
        self.partial = partial
        self.outcome = Outcome(np.zeros((count, dimension), np.float32), np.zeros(count, np.int64))
        self.missing = count
        self.origin = origin()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.texts: list[Text] = []
        #: Nobody waits any more: what is not sent yet need not be.
        self.gone = False

    def settle(self, index: int, vector: Float32, tokens: int, cut: int | None = None) -> None:
        """Give the caller a vector, float32[d]; `cut` is how many characters of a text that was cut are in it."""
        if self.gone:
            return
        self.outcome.vectors[index] = vector
        self.outcome.tokens[index] = tokens
        if cut is not None:
            self.outcome.cuts.append(Cut(index, cut))
        self._one_less()

    def fail(self, index: int, error: DataApiError) -> None:
        """Give the caller an error: for one text where it takes partial results, else for the whole call."""
        if self.gone:
            return
        if self.partial:
            self.outcome.failures[index] = error
            self._one_less()
        else:
            self.gone = True
            if not self.done.done():
                self.done.set_exception(error)

    def _one_less(self) -> None:
        self.missing -= 1
        if self.missing == 0 and not self.done.done():
            self.done.set_result(None)


class Text:
    """A text to be embedded, once for all who wait for it.

    `tokens` is an estimate. `taken` is set while it is in a request, `finished` once it is done with; `sent` is what
    is sent, which is less than the text itself where it had to be cut. `key` is its key in the cache, empty for none.
    """

    __slots__ = ("arrived", "attempts", "database", "finished", "key", "sent", "taken", "text", "tokens", "waiters")

    def __init__(self, text: str, tokens: float, database: str, arrived: float, key: bytes) -> None:
        self.text = self.sent = text
        self.tokens = tokens
        self.database = database
        self.arrived = arrived
        self.key = key
        self.attempts = 0
        self.taken = self.finished = False
        self.waiters: list[tuple[PendingCall, int]] = []

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return not self.finished and any(not call.gone for call, _ in self.waiters)

    @property
    def deadline(self) -> float:
        """The latest time at which anybody waits for it."""
        return max((call.deadline for call, _ in self.waiters if not call.gone), default=0.0)

    def settle(self, vector: Float32, tokens: int) -> None:
        """Give everybody the vector; the tokens are counted for the first."""
        cut = None if self.sent is self.text else len(self.sent)
        for call, index in self.waiters:
            call.settle(index, vector, tokens, cut)
            tokens = 0

    def fail(self, error: DataApiError, *, own_fault: bool = False) -> None:
        """Give everybody the error; with `own_fault` it names the text's position in each call."""
        for call, index in self.waiters:
            call.fail(index, _positioned(error, index, len(call.outcome.vectors)) if own_fault else error)


def _positioned(error: DataApiError, index: int, count: int) -> DataApiError:
    if count == 1 or "errorMessage" not in error.details:
        return error
    said = f"{error.details['errorMessage'].rstrip('. ')}. It refuses text {index + 1} of {count}"
    details: dict[str, object] = {**error.details, "errorMessage": said}
    return DataApiError(error.code, document_ids=(), **details)


class FairQueue:
    """Texts that wait, those of queries before those of documents, databases by turns."""

    #: Of so many places in a request one is kept for documents while both wait: queries must not starve inserts.
    DOCUMENT_PLACES = 8

    def __init__(self) -> None:
        self._queues: dict[Purpose, dict[str, deque[Text]]] = {"query": {}, "document": {}}
        #: Entries, those included that are passed over when their turn comes.
        self.size = 0

    def put(self, text: Text, purpose: Purpose) -> None:
        """Add a text at the end."""
        self._queues[purpose].setdefault(text.database, deque()).append(text)
        self.size += 1

    def put_back(self, texts: Sequence[Text], purpose: Purpose) -> None:
        """Add texts at the front, in their order."""
        for text in reversed(texts):
            self._queues[purpose].setdefault(text.database, deque()).appendleft(text)
        self.size += len(texts)

    def next(self, purpose: Purpose) -> Text | None:
        """Take the next text of a purpose that is wanted and in no request, None where there is none."""
        queues = self._queues[purpose]
        while queues:
            database, queue = next(iter(queues.items()))
            while queue:
                text = queue.popleft()
                self.size -= 1
                if not text.taken and text.wanted:
                    # The database goes to the end of the turn.
                    del queues[database]
                    if queue:
                        queues[database] = queue
                    return text
            del queues[database]
        return None

    def has(self, purpose: Purpose) -> bool:
        """Tell whether texts of a purpose may wait."""
        return bool(self._queues[purpose])

    def drain(self) -> list[Text]:
        """Take every text that is wanted and in no request."""
        taken = [text for queues in self._queues.values() for queue in queues.values() for text in queue]
        self._queues = {"query": {}, "document": {}}
        self.size = 0
        return [text for text in dict.fromkeys(taken) if not text.taken and text.wanted]
