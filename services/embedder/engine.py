"""Embedding: a service resolved to a model and a key; then remembered, asked for, and counted."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from services.embedder.account import Account
from services.embedder.accounts import Accounts
from services.embedder.cache import VectorCache, cache_key, cache_scope
from services.embedder.calls import EmbedCall, Embedded, PendingCall, Text
from services.embedder.catalogue import Catalogue
from services.embedder.check import Service, credential_name
from services.embedder.credentials import CredentialStore
from services.embedder.entries import CACHE_PARAMETER, Provider, Purpose
from services.embedder.failover import Endpoints
from services.embedder.lane import Lane
from services.embedder.metrics import EmbedderMetrics
from services.embedder.providers.wire import EmbeddingModel, Float32, ParameterValue
from services.embedder.secret import Secret
from services.embedder.settings import Settings
from services.embedder.upstream import Upstream
from services.embedder.usage import Spender, UsageBook, Used
from services.runtime.errors import ConfigurationError, DataApiError

#: Texts of a bulk job that are under way at a time, in requests of the model's size.
_BULK_REQUESTS = 16


@dataclass(frozen=True, slots=True)
class _Route:
    """Whom a call asks: the model as it is used, the account and its lane, and who is counted for it."""

    model: EmbeddingModel
    account: Account
    lane: Lane
    spender: Spender


class EmbeddingEngine:
    """Embeds texts with any model of the catalogue.

    Raises `ConfigurationError` for settings that name what is not in the catalogue, or a cache that cannot be used.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        credentials: CredentialStore,
        upstream: Upstream,
        usage: UsageBook,
        settings: Settings | None = None,
    ) -> None:
        settings = settings or Settings()
        self._catalogue = catalogue
        self._credentials = credentials
        self._usage = usage
        self.metrics = EmbedderMetrics()
        self._cache = VectorCache(settings.cache)
        self.metrics.cache_bytes.set_function(lambda: self._cache.memory)
        self._accounts = Accounts(upstream, settings, self._remember, self.metrics)
        for failover in settings.failover:
            self._check_place(failover.provider, failover.model)
            for place in failover.to:
                self._check_place(place.provider, place.model)
        self._endpoints = Endpoints(settings.failover, self._embed_once)

    def _check_place(self, provider: str, model: str) -> None:
        known = self._catalogue.get(provider)
        if known is None:
            raise ConfigurationError(f"`failover` names provider {provider!r}: {self._catalogue.why_not(provider)}")
        if known.model(model) is None:
            raise ConfigurationError(f"`failover` names model {model!r}, which provider {provider!r} does not have")

    def close(self) -> None:
        """Write what the cache keeps."""
        self._cache.close()

    async def embed(self, call: EmbedCall) -> Embedded:
        """Return the vectors of all texts of a call.

        Raises `DataApiError`: `EMBEDDING_PROVIDER_*`, `EMBEDDING_GATEWAY_RATE_LIMITED`,
        `VECTORIZE_CREDENTIAL_INVALID`.
        """
        return await self._endpoints.embed(call)

    async def _embed_once(self, call: EmbedCall) -> Embedded:
        """Embed at one place, counted."""
        started = time.monotonic()
        route = self._route(call)
        code, used = "OK", Used(calls=1)
        try:
            embedded = await self._embed(call, route, used)
            used.tokens = embedded.total_tokens
            used.money = self._money(route.model, embedded.total_tokens)
            return embedded
        except DataApiError as error:
            code = error.code
            raise
        finally:
            self.metrics.call(route.spender, code, time.monotonic() - started, used)
            self._usage.record(route.spender, used)

    async def stream(self, call: EmbedCall) -> AsyncIterator[tuple[int, Embedded]]:
        """Yield the vectors of a bulk job as they come, in the order of the texts: the first one's index, and some.

        Raises what `embed` raises; what was yielded before stays.
        """
        route = self._route(call)
        size = route.model.max_batch_size
        starts = iter(range(0, len(call.texts), size))
        running: list[tuple[int, asyncio.Task[Embedded]]] = []

        def begin() -> None:
            start = next(starts, None)
            if start is not None:
                part = replace(call, texts=call.texts[start : start + size])
                running.append((start, asyncio.create_task(self.embed(part))))

        try:
            for _ in range(_BULK_REQUESTS):
                begin()
            while running:
                start, task = running[0]
                embedded = await task
                running.pop(0)
                begin()
                yield start, embedded
        finally:
            for _, task in running:
                task.cancel()
            await asyncio.gather(*(task for _, task in running), return_exceptions=True)

    # --- one call ---

    async def _embed(self, call: EmbedCall, route: _Route, used: Used) -> Embedded:
        model = route.model
        if not call.texts:
            raise DataApiError(
                "EMBEDDING_REQUEST_ENCODING_ERROR",
                provider=model.provider.id,
                model=model.model.name,
                problem="it has no texts",
            )
        pending = PendingCall(
            call.database, call.purpose, len(call.texts), model.dimension, call.deadline, partial=call.partial
        )
        misses = self._recall(call, route, pending, used)
        warnings: list[str] = []
        if misses:
            if self._cache.recorded:
                problem = f"{len(misses)} of {len(call.texts)} texts are not in the recorded cache, and nobody is asked"
                raise DataApiError("EMBEDDING_PROVIDER_UNAVAILABLE", provider=model.provider.id, problem=problem)
            tokens = sum(route.lane.estimate.of(text) for _, text, _ in misses)
            warnings = self._usage.check(route.spender, tokens, self._money(model, tokens))
            await self._ask(route, pending, misses)
        outcome = pending.outcome
        total = int(outcome.tokens.sum())
        used.texts = len(call.texts) - len(outcome.failures)
        cached = len(call.texts) - len(misses)
        return Embedded(outcome.vectors, total, total, outcome.failures, outcome.cuts, warnings, cached)

    def _recall(self, call: EmbedCall, route: _Route, pending: PendingCall, used: Used) -> list[tuple[int, str, bytes]]:
        """Answer what is remembered and return the rest: index, text and cache key."""
        wanted = call.cache and route.model.parameters.get(CACHE_PARAMETER) is not False and self._cache.enabled
        if not wanted:
            return [(index, text, b"") for index, text in enumerate(call.texts)]
        scope = cache_scope(route.model, call.database, shared=self._cache.shared)
        misses = []
        for index, text in enumerate(call.texts):
            key = cache_key(scope, text)
            known = self._cache.get(key)
            if known is None or len(known.vector) != route.model.dimension:
                misses.append((index, text, key))
            else:
                pending.settle(index, known.vector, 0)
                used.cached += 1
                used.saved += known.tokens
        return misses

    async def _ask(self, route: _Route, pending: PendingCall, misses: Sequence[tuple[int, str, bytes]]) -> None:
        route.account.submit(route.lane, pending, misses)
        try:
            async with asyncio.timeout_at(pending.deadline):
                await pending.done
        except TimeoutError:
            problem = f"{pending.missing} of {len(pending.outcome.vectors)} texts had no vector when the deadline came"
            raise DataApiError(
                "EMBEDDING_PROVIDER_TIMEOUT", provider=route.model.provider.id, problem=problem
            ) from None
        finally:
            route.account.leave(route.lane, pending)

    def _remember(self, text: Text, vector: Float32, tokens: int) -> None:
        # What was cut is not the text's own vector.
        if text.key and text.sent is text.text:
            self._cache.put(text.key, vector, tokens)

    # --- whom to ask ---

    def _route(self, call: EmbedCall) -> _Route:
        model = self._model(call.service, call.purpose)
        key_name, keys = self._keys(call, model.provider)
        account = self._accounts.account(model.provider, key_name, keys)
        lane = self._accounts.lane(account, model, keys)
        return _Route(model, account, lane, Spender(model.provider.id, key_name, call.database, model.model.name))

    def _model(self, service: Service, purpose: Purpose) -> EmbeddingModel:
        provider = self._catalogue.get(service.provider)
        model = None if provider is None else provider.model(service.model)
        if provider is None or model is None:
            problem = f"its model '{service.model}' is not in the catalogue; findEmbeddingProviders lists what is"
            if provider is None:
                problem = self._catalogue.why_not(service.provider)
            raise DataApiError("EMBEDDING_PROVIDER_UNAVAILABLE", provider=service.provider, problem=problem)
        if model.status == "END_OF_LIFE":
            raise DataApiError(
                "END_OF_LIFE_AI_MODEL",
                model=model.name,
                modelStatus=model.status,
                explanation=model.status_message or "no reason is given",
            )
        dimension = service.dimension or model.dimension
        if dimension is None and model.dimensions is not None:
            dimension = model.dimensions.default
        parameters: dict[str, ParameterValue] = {
            name: value for name, value in service.parameters.items() if isinstance(value, str | float | bool)
        }
        return EmbeddingModel(provider, model, dimension or 0, parameters, purpose)

    def _keys(self, call: EmbedCall, provider: Provider) -> tuple[str, dict[str, Secret]]:
        """Return the name of the stored key, empty where none is used, and the secrets by the provider's names.

        Each is that of the request, where the provider takes that, else the collection's stored one. A provider that
        needs no key may get one.
        """
        ways = provider.authentication
        given = call.request_keys if ways.header or ways.none else {}
        keys: dict[str, Secret] = {}
        stored: dict[str, str] = {}
        missing: list[str] = []
        used_name = ""
        for token in ways.tokens:
            name = call.service.authentication.get(token.accepted_token)
            if token.accepted_header in given:
                keys[token.accepted_token] = given[token.accepted_header]
            elif name is not None:
                used_name = credential_name(name, token.accepted_token).removesuffix(f".{token.accepted_token}")
                stored[token.accepted_token] = used_name
            else:
                missing.append(token.accepted_header)
        # All at once, so that a key of several secrets is never half of one version and half of another.
        if stored:
            keys |= self._credentials.secrets(provider.id, stored, call.database)
        if missing and not ways.none:
            raise DataApiError(
                "EMBEDDING_PROVIDER_AUTHENTICATION_KEYS_NOT_PROVIDED",
                provider=provider.id,
                problem=f"the collection names no stored key and the request has no header {' and '.join(missing)}",
            )
        return used_name, keys

    def _money(self, model: EmbeddingModel, tokens: float) -> float:
        return tokens * (model.model.price_per_million_tokens or 0.0) / 1e6
