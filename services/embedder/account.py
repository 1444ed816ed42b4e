"""An account: one key of a provider, and everything that is asked with it.

Requests of all callers with the same key share its rate limits, so they are scheduled together: queries before
documents, lanes by turns, as many at a time as the provider bears.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import structlog

from services.embedder.calls import PendingCall, Text
from services.embedder.failures import Failure
from services.embedder.lane import Batch, Lane, Trial
from services.embedder.metrics import EmbedderMetrics
from services.embedder.pace import Breaker, Pace, Window
from services.embedder.providers.wire import Answer, Float32
from services.embedder.settings import Settings
from services.embedder.too_long import shorter
from services.runtime.errors import DataApiError
from services.runtime.rpc import unexpected_error
from services.runtime.traces import Span, shared_context, span

log = structlog.get_logger(__name__)

Settled = Callable[[Text, Float32, int], None]


@dataclass(slots=True)
class Load:
    """How many texts, and characters of them, wait or are under way with all accounts."""

    texts: int = 0
    characters: int = 0


class Account:
    """Schedules the requests of one key.

    `settled` is told of each vector that came, with the tokens counted for it.
    """

    def __init__(
        self, provider: str, pace: Pace, settings: Settings, load: Load, settled: Settled, metrics: EmbedderMetrics
    ) -> None:
        self.provider = provider
        self.pace = pace
        self._settings = settings
        self._load = load
        self._settled = settled
        self._metrics = metrics
        self._window = Window(settings.flow)
        self._breaker = Breaker(settings.breaker)
        self._last_failure: DataApiError | None = None
        self._lanes: dict[object, Lane] = {}
        self._under_way = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._delayed = 0
        self._pump_soon = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits or is under way."""
        return not self._under_way and not self._delayed and all(lane.idle for lane in self._lanes.values())

    @property
    def down(self) -> DataApiError | None:
        """Why the provider is not asked at the moment, None while it is."""
        seconds = self._breaker.open_for(time.monotonic())
        if seconds <= 0:
            return None
        said = f"; the last time: {self._last_failure}" if self._last_failure is not None else ""
        problem = (
            f"it failed {self._breaker.failures} times in a row and is not asked for another {seconds:.1f} s{said}"
        )
        return DataApiError("EMBEDDING_PROVIDER_UNAVAILABLE", provider=self.provider, problem=problem)

    def lane(self, identity: object, make: Callable[[], Lane]) -> Lane:
        """Return the lane of an identity, made when it is new."""
        lane = self._lanes.get(identity)
        if lane is None:
            for other in [key for key, item in self._lanes.items() if item.idle]:
                del self._lanes[other]
            lane = self._lanes[identity] = make()
        return lane

    def submit(self, lane: Lane, call: PendingCall, texts: Sequence[tuple[int, str, bytes]]) -> None:
        """Let a call wait for texts, given as index, text and cache key.

        Raises `EMBEDDING_PROVIDER_UNAVAILABLE` while the provider is left alone, `EMBEDDING_GATEWAY_RATE_LIMITED`
        while too much waits, and `EMBEDDING_PROVIDER_RATE_LIMITED` where the provider's limit outlasts the deadline.
        """
        now = time.monotonic()
        down = self.down
        if down is not None:
            raise down
        flow = self._settings.flow
        size = sum(len(text) for _, text, _ in texts)
        if self._load.texts + len(texts) > flow.queued_texts or self._load.characters + size > flow.queued_characters:
            problem = f"{self._load.texts} texts wait already, and {len(texts)} more would be over {flow.queued_texts}"
            if self._load.texts + len(texts) <= flow.queued_texts:
                problem = f"{self._load.characters} characters wait already, and {flow.queued_characters} are the most"
            raise DataApiError("EMBEDDING_GATEWAY_RATE_LIMITED", problem=problem)
        if self.pace.blocked_until > call.deadline:
            raise self._limited(self.pace.blocked_until - now)
        for index, text, key in texts:
            if lane.add(call, index, text, key, now):
                self._load.texts += 1
                self._load.characters += len(text)
        if not self._pump_soon:
            # Calls that come in the same round of the event loop share a request.
            self._pump_soon = True
            asyncio.get_running_loop().call_soon(self._pump)

    def leave(self, lane: Lane, call: PendingCall) -> None:
        """Drop what a call no longer waits for, unless it is under way or somebody else waits for it."""
        call.gone = True
        for text in call.texts:
            if not text.taken and not text.wanted:
                self._finish(lane, text)

    # --- scheduling ---

    def _pump(self) -> None:
        """Send what can be sent now, and come back when more can be."""
        self._pump_soon = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while True:
            now = time.monotonic()
            lane, at = self._next_lane(now)
            if lane is None:
                self._come_back(at - now)
                return
            size = 1 if self._breaker.on_trial else self._window.size
            # A search does not wait for one of many inserts to be answered.
            if self._under_way >= size + (1 if lane.has_queries and not self._breaker.on_trial else 0):
                return
            wait = max(self.pace.wait(now), self._breaker.open_for(now))
            if wait > 0:
                self._come_back(wait)
                return
            batch = lane.take(now)
            if batch is not None:
                self._send(lane, batch, now)

    def _next_lane(self, now: float) -> tuple[Lane | None, float]:
        """Return the lane to serve, or None and the time when one is ready."""
        earliest = math.inf
        ready: tuple[object, Lane] | None = None
        for key, lane in self._lanes.items():
            at = lane.ready_at(now)
            if at > now:
                earliest = min(earliest, at)
            elif ready is None or (lane.has_queries and not ready[1].has_queries):
                ready = key, lane
        if ready is None:
            return None, earliest
        # To the end of the turn.
        key, lane = ready
        del self._lanes[key]
        self._lanes[key] = lane
        return lane, now

    def _come_back(self, seconds: float) -> None:
        if seconds < math.inf:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._pump)

    def _send(self, lane: Lane, batch: Batch, now: float) -> None:
        self._under_way += 1
        lane.under_way += 1
        self.pace.sent(batch.tokens)
        for text in batch.texts:
            text.attempts += 1
        # It belongs to all who wait for it, not to the one whose task happens to send it.
        context = shared_context([call.origin for text in batch.texts for call, _ in text.waiters if not call.gone])
        task = asyncio.get_running_loop().create_task(self._request(lane, batch, now), context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _request(self, lane: Lane, batch: Batch, sent: float) -> None:
        seconds = min(lane.model.provider.read_seconds or self._settings.requests.read_seconds, batch.deadline - sent)
        estimate = batch.tokens
        outcome: Answer | Failure
        try:
            with self._span(lane, len(batch.texts)) as traced:
                reply = await lane.ask([text.sent for text in batch.texts], max(0.001, seconds))
                if isinstance(reply.outcome, Failure):
                    traced.failed(reply.outcome.error.code)
            outcome, notice = reply.outcome, reply.notice
        except Exception as problem:  # noqa: BLE001 - the last resort, logged and answered
            outcome, notice = Failure(unexpected_error(f"the request to {self.provider}", problem)), None
        now = time.monotonic()
        self._under_way -= 1
        lane.under_way -= 1
        self._metrics.request(lane.model, len(batch.texts), sent - batch.texts[0].arrived, now - sent, outcome)
        if notice is not None:
            self.pace.notice(notice, now)
        try:
            if isinstance(outcome, Answer):
                self._breaker.answered()
                self._window.answered(self._under_way + 1)
                lane.answered(now - sent)
                self.pace.counted(estimate, outcome.total_tokens)
                self._deliver(lane, batch, outcome)
            else:
                self._failed(lane, batch, outcome, sent, now)
        finally:
            # Whatever happened to this one, others wait.
            self._pump()

    def _span(self, lane: Lane, texts: int) -> AbstractContextManager[Span]:
        return span(
            f"request {self.provider}",
            "client",
            gen_ai__provider__name=self.provider,
            gen_ai__request__model=lane.model.model.name,
            orrery__texts=texts,
        )

    # --- answers ---

    def _deliver(self, lane: Lane, batch: Batch, answer: Answer) -> None:
        lane.estimate.counted(sum(len(text.sent) for text in batch.texts), answer.total_tokens)
        shares = _apportioned(answer.total_tokens, [text.tokens for text in batch.texts])
        for text, vector, tokens in zip(batch.texts, answer.vectors, shares, strict=True):
            self._finish(lane, text)
            self._settled(text, vector, tokens)
            text.settle(vector, tokens)
        if batch.trial is not None:
            self._probed(lane, batch.trial, None)

    def _failed(self, lane: Lane, batch: Batch, failure: Failure, sent: float, now: float) -> None:
        self._last_failure = failure.error
        if failure.overload:
            self._window.overloaded(now, sent)
        if failure.down:
            if self._breaker.failed(now, sent):
                self._give_up(now)
        elif not failure.overload:
            self._breaker.answered()
        if failure.content and self._isolate(lane, batch, failure):
            return
        if failure.wait_seconds is not None and failure.asked:
            self.pace.block(now, failure.wait_seconds)
            self._refuse_late(now)
        if batch.trial is not None:
            self._probed(lane, batch.trial, None)
        if not failure.retry:
            self._refuse(lane, batch.texts, failure.error)
            return
        again: list[Text] = []
        pauses: list[float] = []
        for text in batch.texts:
            pause = self._pause(lane, failure, text.attempts)
            text.taken = False
            if not text.wanted:
                self._finish(lane, text)
            elif pause is None or now + pause >= text.deadline or self._breaker.open_for(now) > 0:
                self._refuse(lane, [text], failure.error)
            else:
                again.append(text)
                pauses.append(pause)
        if again:
            self._metrics.retried(lane.model, len(again))
            self._delayed += 1
            asyncio.get_running_loop().call_later(min(pauses), self._again, lane, again)

    def _again(self, lane: Lane, texts: list[Text]) -> None:
        self._delayed -= 1
        down = self.down
        if down is not None:
            self._refuse(lane, texts, down)
        else:
            for text in texts:
                if not text.wanted:
                    self._finish(lane, text)
            lane.put_back([text for text in texts if not text.taken and text.wanted])
        self._pump()

    def _pause(self, lane: Lane, failure: Failure, attempts: int) -> float | None:
        """Return the seconds to wait before the next attempt, None for no further one."""
        settings = self._settings.requests
        if attempts >= settings.attempts:
            return None
        if failure.wait_seconds is not None:
            return failure.wait_seconds if failure.asked else min(failure.wait_seconds, settings.loading_seconds)
        first = lane.model.provider.first_back_off_seconds
        pause: float = min(max(settings.last_back_off_seconds, first), first * 2 ** (attempts - 1))
        return pause * (1 - settings.jitter * random.random())  # noqa: S311 - spreads retries

    def _isolate(self, lane: Lane, batch: Batch, failure: Failure) -> bool:
        """Find the texts that a refusal is about; return whether that is under way or done."""
        texts, trial = batch.texts, batch.trial
        for text in texts:
            text.taken = False
        if len(texts) == 1:
            (text,) = texts
            cut = shorter(lane.model, text, failure)
            if cut is not None:
                text.sent, text.tokens = cut, lane.estimate.of(cut)
                text.attempts -= 1
                lane.add_trial(Batch(texts, trial))
                return True
            self._refuse(lane, texts, failure.error, own_fault=True)
            if trial is not None:
                self._probed(lane, trial, failure.error)
            return True
        if trial is None:
            by_length = sorted(texts, key=lambda text: len(text.sent))
            probes = [by_length[0], by_length[len(by_length) // 2]]
            trial = Trial([text for text in texts if text not in probes], len(probes))
            pieces = [[probe] for probe in probes]
        else:
            pieces = [texts[: len(texts) // 2], texts[len(texts) // 2 :]]
        for piece in pieces:
            lane.add_trial(Batch(piece, trial))
        return True

    def _probed(self, lane: Lane, trial: Trial, refused: DataApiError | None) -> None:
        """Note what became of a piece of a refused batch; after the last probe its rest is sent, or refused."""
        trial.passed |= refused is None
        trial.probes -= 1
        if trial.probes:
            return
        rest, trial.rest = trial.rest, []
        if trial.passed:
            lane.add_trial(Batch(rest, trial))
        elif refused is not None:
            self._refuse(lane, rest, refused)

    # --- refusals ---

    def _refuse(self, lane: Lane, texts: Sequence[Text], error: DataApiError, *, own_fault: bool = False) -> None:
        for text in texts:
            self._finish(lane, text)
            text.fail(error, own_fault=own_fault)

    def _give_up(self, now: float) -> None:
        """Refuse everything that waits: the provider is down."""
        down = self.down
        assert down is not None
        log.warning("provider left alone", provider=self.provider, seconds=round(self._breaker.open_for(now), 1))
        self._metrics.left_alone(self.provider)
        for lane in self._lanes.values():
            self._refuse(lane, lane.drop_waiting(), down)

    def _refuse_late(self, now: float) -> None:
        """Refuse what waits for a limit that outlasts its deadline."""
        error = self._limited(self.pace.blocked_until - now)
        for lane in self._lanes.values():
            texts = lane.drop_waiting()
            late = [text for text in texts if text.deadline <= self.pace.blocked_until]
            self._refuse(lane, late, error)
            lane.put_back([text for text in texts if text.deadline > self.pace.blocked_until])

    def _limited(self, seconds: float) -> DataApiError:
        said = self._last_failure.details.get("errorMessage") if self._last_failure is not None else None
        return DataApiError(
            "EMBEDDING_PROVIDER_RATE_LIMITED",
            provider=self.provider,
            httpStatus=f"for another {seconds:.1f} s",
            errorMessage=said or "nothing more of it",
        )

    def _finish(self, lane: Lane, text: Text) -> None:
        """Take a text out of the books."""
        if not text.finished:
            text.finished = True
            lane.forget(text)
            self._load.texts -= 1
            self._load.characters -= len(text.text)


def _apportioned(total: int, weights: Sequence[float]) -> list[int]:
    """Return whole numbers in the proportion of weights whose sum is the total."""
    if not total:
        return [0] * len(weights)
    whole = sum(weights)
    shares: list[int] = []
    given, so_far = 0, 0.0
    for weight in weights:
        so_far += weight
        upto = round(total * so_far / whole)
        shares.append(upto - given)
        given = upto
    return shares
