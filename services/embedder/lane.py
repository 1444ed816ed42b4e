"""A lane: texts that may share requests, because model, parameters, purpose and key are the same."""

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from services.embedder.calls import FairQueue, PendingCall, Text
from services.embedder.entries import Purpose
from services.embedder.providers.wire import EmbeddingModel
from services.embedder.settings import FlowSettings
from services.embedder.upstream import Reply

#: Tokens a character before a provider has counted any: English text has about four characters a token.
_FIRST_TOKENS_A_CHARACTER = 0.27
#: Weight of the newest request in running averages.
_NEWEST = 0.2

Ask = Callable[[Sequence[str], float], Awaitable[Reply]]


class TokenEstimate:
    """How many tokens a text may have, put right by what the provider counts."""

    def __init__(self) -> None:
        self._ratio = _FIRST_TOKENS_A_CHARACTER

    def of(self, text: str) -> float:
        """Return about how many tokens a text has."""
        return 1 + len(text) * self._ratio

    def counted(self, characters: int, tokens: int) -> None:
        """Learn from a request that had so many characters and tokens."""
        if characters and tokens:
            self._ratio += _NEWEST * (tokens / characters - self._ratio)


@dataclass(slots=True)
class Trial:
    """What becomes of a batch that a provider refused: it is sent again in pieces to find the texts it is about.

    Some texts go alone first, the `rest` waits for them: if none of them passes, it is not about single texts.
    """

    rest: list[Text]
    probes: int
    passed: bool = False


@dataclass(slots=True)
class Batch:
    """The texts of one request; `trial` where they are what a refused request had, or a part of it."""

    texts: list[Text]
    trial: Trial | None = None

    @property
    def tokens(self) -> float:
        """About how many tokens it has."""
        return sum(text.tokens for text in self.texts)

    @property
    def deadline(self) -> float:
        """The latest time at which anybody waits for any of it."""
        return max(text.deadline for text in self.texts)


class Lane:
    """Texts that may share requests: those that wait, and the figures by which they are put together."""

    def __init__(self, model: EmbeddingModel, ask: Ask, settings: FlowSettings, shared: bool) -> None:
        self.model = model
        self.ask = ask
        self.estimate = TokenEstimate()
        self.under_way = 0
        self._settings = settings
        self._shared = shared
        self._queue = FairQueue()
        self._trials: deque[Batch] = deque()
        self._by_text: dict[tuple[str, str], Text] = {}
        self._oldest = math.inf
        self._seconds = 0.0

    # --- in ---

    def add(self, call: PendingCall, index: int, text: str, key: bytes, now: float) -> bool:
        """Let a call wait for a text; return whether it is new. Equal texts of a database go once."""
        identity = ("" if self._shared else call.database, text)
        known = self._by_text.get(identity)
        if known is None:
            known = Text(text, self.estimate.of(text), call.database, now, key)
            self._by_text[identity] = known
            self._oldest = min(self._oldest, now)
            self._queue.put(known, call.purpose)
            new = True
        else:
            new = False
            if call.purpose == "query" and not known.taken:
                self._queue.put(known, "query")
        known.waiters.append((call, index))
        call.texts.append(known)
        return new

    def put_back(self, texts: Sequence[Text]) -> None:
        """Let texts wait again, before all others."""
        for text in texts:
            text.taken = False
            self._oldest = min(self._oldest, text.arrived)
        for purpose in ("query", "document"):
            mine = [text for text in texts if _purpose(text) == purpose]
            self._queue.put_back(mine, purpose)

    def add_trial(self, batch: Batch) -> None:
        """Send a part of a refused batch by itself, before all others."""
        self._trials.append(batch)

    # --- out ---

    def ready_at(self, now: float) -> float:
        """Return when a request is to be made of what waits; infinity while nothing does."""
        if self._trials:
            return now
        if not self._queue.size:
            return math.inf
        if self.under_way == 0 or self._queue.size >= self.model.max_batch_size:
            return now
        gather = min(self._settings.gather_seconds, self._settings.gather_share * self._seconds)
        return self._oldest + gather

    @property
    def has_queries(self) -> bool:
        """Whether somebody waits for a search."""
        return self._queue.has("query")

    def take(self, now: float) -> Batch | None:
        """Take what fits in one request: queries first, databases by turns; None where nobody waits any more."""
        while self._trials:
            batch = self._trials.popleft()
            batch.texts = [text for text in batch.texts if text.wanted]
            if batch.texts:
                for text in batch.texts:
                    text.taken = True
                return batch
        most, most_tokens = self.model.max_batch_size, self.model.max_tokens_per_request or math.inf
        kept = most // FairQueue.DOCUMENT_PLACES if self._queue.has("document") else 0
        texts: list[Text] = []
        tokens = self._fill(texts, "query", most - kept, most_tokens, 0.0)
        tokens = self._fill(texts, "document", most, most_tokens, tokens)
        self._fill(texts, "query", most, most_tokens, tokens)
        self._oldest = now if self._queue.size else math.inf
        return Batch(texts) if texts else None

    def _fill(self, texts: list[Text], purpose: Purpose, most: int, most_tokens: float, tokens: float) -> float:
        while len(texts) < most:
            text = self._queue.next(purpose)
            if text is None:
                break
            # One that only seems too long goes alone: the provider decides.
            if texts and tokens + text.tokens > most_tokens:
                self._queue.put_back([text], purpose)
                break
            text.taken = True
            tokens += text.tokens
            texts.append(text)
        return tokens

    def drop_waiting(self) -> list[Text]:
        """Take every text that waits."""
        texts = self._queue.drain() + [text for batch in self._trials for text in batch.texts]
        self._trials.clear()
        self._oldest = math.inf
        return texts

    def forget(self, text: Text) -> None:
        """Forget a text that is done with: the next equal one is a new one."""
        identity = ("" if self._shared else text.database, text.text)
        if self._by_text.get(identity) is text:
            del self._by_text[identity]

    # --- figures ---

    def answered(self, seconds: float) -> None:
        """Note how long a request took."""
        self._seconds += _NEWEST * (seconds - self._seconds) if self._seconds else seconds

    @property
    def idle(self) -> bool:
        """Whether nothing waits or is under way."""
        return not self._by_text and not self.under_way


def _purpose(text: Text) -> Purpose:
    return "query" if any(call.purpose == "query" and not call.gone for call, _ in text.waiters) else "document"
