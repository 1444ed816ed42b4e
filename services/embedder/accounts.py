"""The accounts in use: one for each key of each provider, with the limits that are configured for it."""

import functools
import hashlib
import os
import time
from collections.abc import Mapping, Sequence

import msgspec

from services.embedder import in_process
from services.embedder.account import Account, Load, Settled
from services.embedder.entries import IN_PROCESS, Provider
from services.embedder.lane import Ask, Lane
from services.embedder.metrics import EmbedderMetrics
from services.embedder.pace import Pace
from services.embedder.providers.wire import EmbeddingModel
from services.embedder.secret import Secret
from services.embedder.settings import RateLimit, Settings
from services.embedder.upstream import Upstream

#: Computations in process at a time: more would only share the processor.
_COMPUTATIONS = 2
#: Accounts from which on idle ones are let go.
_MANY_ACCOUNTS = 1000


class Accounts:
    """Accounts by provider and key. Keys are told apart by a digest that holds for this process alone."""

    def __init__(self, upstream: Upstream, settings: Settings, settled: Settled, metrics: EmbedderMetrics) -> None:
        self._upstream = upstream
        self._settings = settings
        self._settled = settled
        self._metrics = metrics
        self._pepper = os.urandom(16)
        self._accounts: dict[bytes, Account] = {}
        self._load = Load()
        metrics.queued_texts.set_function(lambda: self._load.texts)

    def account(self, provider: Provider, key_name: str, keys: Mapping[str, Secret]) -> Account:
        """Return the account of a key, given as its secrets by the provider's names for them."""
        digest = hashlib.blake2b(f"{provider.id}\0{provider.url}".encode(), key=self._pepper, digest_size=16)
        for name in sorted(keys):
            digest.update(f"\0{name}\0{keys[name].reveal()}".encode())
        identity = digest.digest()
        account = self._accounts.get(identity)
        if account is None:
            if len(self._accounts) >= _MANY_ACCOUNTS:
                self._accounts = {key: item for key, item in self._accounts.items() if not item.idle}
            account = self._accounts[identity] = self._new(provider, key_name)
        return account

    def lane(self, account: Account, model: EmbeddingModel, keys: Mapping[str, Secret]) -> Lane:
        """Return the lane of an account for a model as a collection uses it."""
        purpose = model.purpose if model.distinguishes_purposes else ""
        parameters = tuple(sorted((name, str(value)) for name, value in model.parameters.items()))
        identity = (model.model.name, model.dimension, parameters, purpose)
        flow, shared = self._settings.flow, self._settings.cache.shared
        return account.lane(identity, lambda: Lane(model, self._ask(model, keys), flow, shared))

    def _ask(self, model: EmbeddingModel, keys: Mapping[str, Secret]) -> Ask:
        if model.provider.wire in IN_PROCESS:
            return functools.partial(in_process.compute, model)
        return functools.partial(self._upstream.ask, model, keys)

    def _new(self, provider: Provider, key_name: str) -> Account:
        settings = self._settings
        if provider.wire in IN_PROCESS:
            flow = msgspec.structs.replace(settings.flow, first_window=_COMPUTATIONS, last_window=_COMPUTATIONS)
            settings = msgspec.structs.replace(settings, flow=flow)
        limit = _limit(settings.limits, provider.id, key_name)
        requests, tokens = (limit.requests, limit.tokens) if limit is not None else (None, None)
        pace = Pace(requests, tokens, settings.flow.longest_hold_seconds, time.monotonic())
        return Account(provider.id, pace, settings, self._load, self._settled, self._metrics)


def _limit(limits: Sequence[RateLimit], provider: str, key_name: str) -> RateLimit | None:
    """Return the limit of a key: its own, else the one of each key of the provider."""
    mine = [limit for limit in limits if limit.provider == provider and limit.key in (None, key_name)]
    return max(mine, key=lambda limit: limit.key is not None, default=None)
