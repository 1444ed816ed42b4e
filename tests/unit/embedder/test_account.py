"""An account: how the requests of one key are put together, tried again, held back and given up."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from services.embedder.account import Account, Load
from services.embedder.calls import Outcome, PendingCall, Text
from services.embedder.catalogue import load_catalogue
from services.embedder.entries import Purpose
from services.embedder.failures import Failure
from services.embedder.lane import Lane
from services.embedder.metrics import EmbedderMetrics
from services.embedder.pace import Pace
from services.embedder.providers.wire import Answer, EmbeddingModel, Float32
from services.embedder.settings import BreakerSettings, FlowSettings, RequestSettings, Settings
from services.embedder.upstream import RateNotice, Reply
from services.runtime.errors import DataApiError

JINA = load_catalogue().get("jinaAI")
assert JINA is not None
PROVIDER = msgspec.structs.replace(JINA, max_batch_size=8, first_back_off_seconds=0.01)
MODEL = PROVIDER.model("jina-embeddings-v3")
assert MODEL is not None

SERVER_ERROR = DataApiError(
    "EMBEDDING_PROVIDER_SERVER_ERROR", provider="jinaAI", httpStatus="HTTP status 500", errorMessage="trouble"
)
REFUSED = DataApiError(
    "EMBEDDING_PROVIDER_CLIENT_ERROR", provider="jinaAI", httpStatus="HTTP status 400", errorMessage="odd text"
)
LIMITED = DataApiError(
    "EMBEDDING_PROVIDER_RATE_LIMITED", provider="jinaAI", httpStatus="HTTP status 429", errorMessage="slow down"
)
FAILING = Failure(SERVER_ERROR, retry=True, down=True)
REFUSING = Failure(REFUSED, content=True)


def vector_of(text: str) -> list[float]:
    """Return the vector that the provider of these tests has for a text."""
    return [float(len(text)), float(sum(map(ord, text)) % 997)]


@dataclass
class Provider:
    """A provider whose answers a test decides: `answer` returns None for a good one."""

    seconds: float = 0.01
    answer: Callable[[Sequence[str]], Failure | None] = lambda texts: None
    notice: RateNotice | None = None
    requests: list[list[str]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    @property
    def texts(self) -> list[str]:
        """Every text that it was sent, in order."""
        return [text for request in self.requests for text in request]

    async def ask(self, texts: Sequence[str], seconds: float) -> Reply:
        """Answer one request."""
        self.requests.append(list(texts))
        self.at.append(time.monotonic())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(self.seconds)
        self.under_way -= 1
        failure = self.answer(texts)
        if failure is not None:
            return Reply(failure, self.notice)
        tokens = sum(map(len, texts))
        return Reply(Answer(np.array([vector_of(text) for text in texts], np.float32), tokens, tokens), self.notice)


class Scene:
    """An account and one lane of it, in front of a provider."""

    def __init__(
        self,
        provider: Provider,
        *,
        requests: RequestSettings | None = None,
        flow: FlowSettings | None = None,
        breaker: BreakerSettings | None = None,
        pace: Pace | None = None,
        max_tokens: int | None = None,
        parameters: dict[str, str | float | bool] | None = None,
    ) -> None:
        settings = Settings(requests or RequestSettings(), flow or FlowSettings(), breaker or BreakerSettings())
        assert MODEL is not None
        model = msgspec.structs.replace(MODEL, max_tokens_per_request=max_tokens, max_tokens_per_text=20)
        self.remembered: list[tuple[str, int]] = []
        self.load = Load()
        self.provider = provider
        self.account = Account(
            "jinaAI",
            pace or Pace(None, None, 60, 0),
            settings,
            self.load,
            self._settled,
            EmbedderMetrics(),
        )
        used = EmbeddingModel(PROVIDER, model, 2, parameters or {})
        self.lane = self.account.lane("lane", lambda: Lane(used, provider.ask, settings.flow, False))

    def _settled(self, text: Text, vector: Float32, tokens: int) -> None:
        self.remembered.append((text.text, tokens))

    async def call(
        self,
        *texts: str,
        database: str = "d",
        purpose: Purpose = "document",
        seconds: float = 5,
        partial: bool = False,
    ) -> Outcome:
        """Embed texts as a caller does."""
        pending = PendingCall(database, purpose, len(texts), 2, time.monotonic() + seconds, partial=partial)
        self.account.submit(self.lane, pending, [(index, text, b"") for index, text in enumerate(texts)])
        try:
            async with asyncio.timeout_at(pending.deadline):
                await pending.done
        finally:
            self.account.leave(self.lane, pending)
        for index, text in enumerate(texts):
            if index not in pending.outcome.failures and not pending.outcome.cuts:
                assert pending.outcome.vectors[index].tolist() == vector_of(text)
        return pending.outcome


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine."""
    asyncio.run(test())  # type: ignore[arg-type]


async def code_of(call: Awaitable[Outcome]) -> str:
    """Return the code of a call that fails."""
    with pytest.raises(DataApiError) as caught:
        await call
    return caught.value.code


# --- sharing ----------------------------------------------------------------


def test_one_text_goes_at_once() -> None:
    async def test() -> None:
        scene = Scene(Provider(seconds=0))
        started = time.monotonic()
        await scene.call("a")
        assert scene.provider.at[0] - started < 0.01
        assert scene.load == Load(0, 0)

    run(test)


def test_callers_share_requests_while_one_is_under_way() -> None:
    async def test() -> None:
        scene = Scene(Provider(seconds=0.05))
        first = asyncio.create_task(scene.call("first"))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, *(scene.call(f"text {n}") for n in range(7)))

        assert [len(request) for request in scene.provider.requests] == [1, 7]

    run(test)


def test_a_full_batch_does_not_wait() -> None:
    async def test() -> None:
        scene = Scene(Provider(seconds=0.1))
        await scene.call(*(f"text {n}" for n in range(20)))

        assert [len(request) for request in scene.provider.requests] == [8, 8, 4]
        assert scene.provider.at[1] - scene.provider.at[0] < 0.02

    run(test)


def test_a_request_keeps_to_its_tokens_and_a_text_that_seems_too_long_goes_alone() -> None:
    async def test() -> None:
        scene = Scene(Provider(), max_tokens=10)
        await scene.call("short one", "x" * 400, "short two", "short three", "short four")

        assert sorted(len(request) for request in scene.provider.requests if request[0][0] == "x") == [1]
        assert all(len(request) <= 3 for request in scene.provider.requests)

    run(test)


def test_equal_texts_of_a_database_are_asked_once() -> None:
    async def test() -> None:
        scene = Scene(Provider())
        await asyncio.gather(scene.call("same", "same"), scene.call("same"), scene.call("same", database="other"))

        assert sorted(scene.provider.texts) == ["same", "same"]
        assert [text for text, _ in scene.remembered] == ["same", "same"]

    run(test)


def test_tokens_are_counted_once_and_shared_out_by_length() -> None:
    async def test() -> None:
        scene = Scene(Provider())
        outcome = await scene.call("a" * 10, "b" * 30)

        assert int(outcome.tokens.sum()) == 40
        assert outcome.tokens[0] < outcome.tokens[1]

    run(test)


# --- fairness ---------------------------------------------------------------


def test_a_search_passes_by_a_bulk_load() -> None:
    async def test() -> None:
        scene = Scene(Provider(seconds=0.02), flow=FlowSettings(first_window=1, last_window=1))
        load = asyncio.create_task(scene.call(*(f"bulk {n}" for n in range(200)), database="loader"))
        await asyncio.sleep(0.01)
        started = time.monotonic()
        await scene.call("question", database="reader", purpose="query")

        assert time.monotonic() - started < 0.1
        assert not load.done()
        await load

    run(test)


def test_databases_take_turns() -> None:
    async def test() -> None:
        scene = Scene(Provider(seconds=0.01), flow=FlowSettings(first_window=1, last_window=1))
        load = asyncio.create_task(scene.call(*(f"bulk {n}" for n in range(160)), database="loader"))
        await asyncio.sleep(0.005)
        await scene.call(*(f"few {n}" for n in range(4)), database="other")

        assert len(scene.provider.requests) <= 4
        await load

    run(test)


def test_a_search_for_a_text_that_waits_brings_it_forward() -> None:
    async def test() -> None:
        scene = Scene(Provider(seconds=0.02), flow=FlowSettings(first_window=1, last_window=1))
        load = asyncio.create_task(scene.call(*(f"bulk {n}" for n in range(200))))
        await asyncio.sleep(0.01)
        started = time.monotonic()
        await scene.call("bulk 199", purpose="query")

        assert time.monotonic() - started < 0.1
        await load
        assert scene.provider.texts.count("bulk 199") == 1

    run(test)


# --- failures ---------------------------------------------------------------


def test_what_may_succeed_is_tried_again_in_one_batch() -> None:
    async def test() -> None:
        left = [FAILING, FAILING]
        scene = Scene(Provider(answer=lambda texts: left.pop() if left else None))
        await scene.call("a", "b", "c")

        assert [sorted(request) for request in scene.provider.requests] == [["a", "b", "c"]] * 3

    run(test)


def test_attempts_come_to_an_end() -> None:
    async def test() -> None:
        scene = Scene(Provider(answer=lambda texts: FAILING), requests=RequestSettings(attempts=3))

        assert await code_of(scene.call("a")) == "EMBEDDING_PROVIDER_SERVER_ERROR"
        assert len(scene.provider.requests) == 3
        assert scene.load == Load(0, 0)

    run(test)


def test_a_wait_that_the_provider_asks_for_holds_back_everything_with_the_key() -> None:
    async def test() -> None:
        left = [Failure(LIMITED, retry=True, wait_seconds=0.2, asked=True, overload=True)]
        scene = Scene(Provider(answer=lambda texts: left.pop() if left else None))
        first = asyncio.create_task(scene.call("a"))
        await asyncio.sleep(0.05)
        await scene.call("b")
        await first

        assert scene.provider.at[1] - scene.provider.at[0] >= 0.2

    run(test)


def test_who_cannot_wait_so_long_is_told_at_once() -> None:
    async def test() -> None:
        limited = Failure(LIMITED, retry=True, wait_seconds=30, asked=True, overload=True)
        scene = Scene(Provider(answer=lambda texts: limited))
        started = time.monotonic()

        assert await code_of(scene.call("a", seconds=2)) == "EMBEDDING_PROVIDER_RATE_LIMITED"
        assert await code_of(scene.call("b", seconds=2)) == "EMBEDDING_PROVIDER_RATE_LIMITED"
        assert time.monotonic() - started < 0.5
        assert len(scene.provider.requests) == 1

    run(test)


def test_headers_that_say_nothing_is_left_are_waited_for() -> None:
    async def test() -> None:
        scene = Scene(Provider(notice=RateNotice(0, 1000, 0.15)))
        await scene.call("a")
        scene.provider.notice = None
        await scene.call("b")

        assert scene.provider.at[1] - scene.provider.at[0] >= 0.15

    run(test)


def test_configured_limits_spread_requests() -> None:
    async def test() -> None:
        scene = Scene(Provider(seconds=0), pace=Pace(600, None, 60, time.monotonic()))
        started = time.monotonic()
        for number in range(110):
            await scene.call(str(number))

        # 600 a minute: 100 at once, and then ten a second.
        assert time.monotonic() - started >= 0.8

    run(test)


def test_fewer_requests_at_a_time_go_to_a_provider_that_is_overloaded() -> None:
    async def test() -> None:
        scene = Scene(Provider(seconds=0.02))
        overloaded = Failure(LIMITED, retry=True, overload=True)
        scene.provider.answer = lambda texts: overloaded if scene.provider.under_way >= 2 else None
        await asyncio.gather(*(scene.call(*(f"{n} {m}" for m in range(8)), seconds=20) for n in range(6)))
        before = len(scene.provider.requests)
        scene.provider.most_under_way = 0
        await asyncio.gather(*(scene.call(*(f"later {n} {m}" for m in range(8))) for n in range(4)))

        assert before > 6
        assert scene.provider.most_under_way <= 4

    run(test)


def test_a_provider_that_is_down_is_left_alone_and_tried_again() -> None:
    async def test() -> None:
        scene = Scene(
            Provider(seconds=0, answer=lambda texts: FAILING),
            requests=RequestSettings(attempts=1),
            breaker=BreakerSettings(failures=3, first_seconds=0.2),
        )
        for _ in range(3):
            assert await code_of(scene.call("a")) == "EMBEDDING_PROVIDER_SERVER_ERROR"
        started = time.monotonic()
        for _ in range(5):
            assert await code_of(scene.call("a")) == "EMBEDDING_PROVIDER_UNAVAILABLE"
        assert time.monotonic() - started < 0.1
        assert len(scene.provider.requests) == 3

        await asyncio.sleep(0.25)
        scene.provider.answer = lambda texts: None
        await asyncio.gather(*(scene.call(f"text {n}") for n in range(5)))
        assert scene.account.down is None

    run(test)


# --- texts that the provider refuses ----------------------------------------


def odd(texts: Sequence[str]) -> Failure | None:
    """Refuse requests with a text that is odd."""
    return REFUSING if any("odd" in text for text in texts) else None


@pytest.mark.parametrize("at", [0, 3, 7])
def test_the_text_that_a_refusal_is_about_is_found_and_named(at: int) -> None:
    async def test() -> None:
        scene = Scene(Provider(answer=odd))
        texts = [f"text {n}" for n in range(8)]
        texts[at] = "an odd one"
        with pytest.raises(DataApiError) as caught:
            await scene.call(*texts)

        assert f"text {at + 1} of 8" in caught.value.message
        assert scene.load == Load(0, 0)

    run(test)


def test_the_others_are_embedded_where_partial_results_are_wanted() -> None:
    async def test() -> None:
        scene = Scene(Provider(answer=odd))
        outcome = await scene.call(*(f"text {n}" for n in range(6)), "odd 1", "odd 2", partial=True)

        assert sorted(outcome.failures) == [6, 7]
        assert len(scene.provider.requests) < 12

    run(test)


def test_other_callers_hardly_notice() -> None:
    async def test() -> None:
        scene = Scene(Provider(answer=odd))
        good = [scene.call(f"text {n}") for n in range(5)]
        bad = asyncio.create_task(code_of(scene.call("odd")))

        await asyncio.gather(*good)
        assert await bad == "EMBEDDING_PROVIDER_CLIENT_ERROR"

    run(test)


def test_a_refusal_of_everything_is_not_looked_into_text_by_text() -> None:
    async def test() -> None:
        scene = Scene(Provider(answer=lambda texts: REFUSING))
        assert await code_of(scene.call(*(f"text {n}" for n in range(8)))) == "EMBEDDING_PROVIDER_CLIENT_ERROR"
        await asyncio.sleep(0.05)

        assert len(scene.provider.requests) == 3

    run(test)


def test_a_text_that_is_too_long_is_cut_where_the_collection_asks_for_it() -> None:
    too_long = Failure(
        DataApiError(
            "EMBEDDING_PROVIDER_CLIENT_ERROR", provider="jinaAI", httpStatus="HTTP status 400", errorMessage="too long"
        ),
        content=True,
    )

    async def test() -> None:
        scene = Scene(
            Provider(answer=lambda texts: too_long if any(len(text) > 60 for text in texts) else None),
            parameters={"onTooLong": "truncate"},
        )
        outcome = await scene.call("short", "many words " * 40)

        (cut,) = outcome.cuts
        assert cut.index == 1
        assert 30 < cut.characters <= 60
        assert outcome.vectors[1].tolist() == vector_of(("many words " * 40)[: cut.characters])

    run(test)


# --- callers that go, and too many of them ----------------------------------


def test_work_whose_caller_has_gone_is_not_sent() -> None:
    async def test() -> None:
        scene = Scene(Provider(seconds=0.05), flow=FlowSettings(first_window=1, last_window=1))
        first = asyncio.create_task(scene.call(*(f"first {n}" for n in range(8))))
        await asyncio.sleep(0.01)
        gone = asyncio.create_task(scene.call(*(f"gone {n}" for n in range(50))))
        await asyncio.sleep(0.01)
        gone.cancel()
        await first
        await asyncio.sleep(0.1)

        assert not any(text.startswith("gone") for text in scene.provider.texts)
        assert scene.load == Load(0, 0)

    run(test)


def test_a_deadline_that_passes_in_the_queue_is_kept() -> None:
    async def test() -> None:
        scene = Scene(Provider(seconds=0.3), flow=FlowSettings(first_window=1, last_window=1))
        first = asyncio.create_task(scene.call(*(f"first {n}" for n in range(8))))
        await asyncio.sleep(0.01)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await scene.call(*(f"late {n}" for n in range(8)), seconds=0.1)

        assert time.monotonic() - started < 0.15
        await first

    run(test)


def test_a_full_queue_refuses_and_says_so() -> None:
    async def test() -> None:
        scene = Scene(Provider(seconds=0.05), flow=FlowSettings(queued_texts=10))
        first = asyncio.create_task(scene.call(*(f"text {n}" for n in range(9))))
        await asyncio.sleep(0.01)
        with pytest.raises(DataApiError) as caught:
            await scene.call("a", "b")

        assert caught.value.code == "EMBEDDING_GATEWAY_RATE_LIMITED"
        assert "10" in caught.value.message
        await first
        await scene.call("a", "b")

    run(test)
