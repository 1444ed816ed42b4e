"""Another place for the same model, asked while its own provider is down; never another model.

That two places have the same model is not believed but tried: some texts are embedded at both while both work, and only
where their vectors are the same is the one ever asked instead of the other.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np
import structlog

from services.embedder.calls import EmbedCall, Embedded
from services.embedder.check import Service
from services.embedder.providers.wire import Float32
from services.embedder.settings import Endpoint, Failover
from services.runtime.errors import DataApiError

log = structlog.get_logger(__name__)

#: What is embedded at both places. Short, long, of several languages and kinds: a model that differs, or is served
#: with another pooling or prefix, shows it in one of them.
CANARIES = (
    "The orrery shows the planets on their courses around the sun.",
    "import numpy as np; vectors = np.zeros((3, 384), np.float32)",
    "Die Umlaufzeit des Jupiters beträgt knapp zwölf Jahre.",
    "?",
    "In 1705 Edmond Halley foretold the return of a comet that he would not live to see. " * 4,
)
#: The least cosine between the vectors of a text at two places that have the same model.
LEAST_COSINE = 0.999
#: Codes of failures that another place may not have.
DOWN = frozenset({"EMBEDDING_PROVIDER_SERVER_ERROR", "EMBEDDING_PROVIDER_TIMEOUT", "EMBEDDING_PROVIDER_UNAVAILABLE"})
_CHECK_SECONDS = 30.0
#: A check that failed, or is old, is made again after so many seconds.
_AGAIN_SECONDS, _OLD_SECONDS = 60.0, 24 * 3600.0
#: Share of the caller's time after which another place is asked.
_FIRST_SHARE = 0.5

Embed = Callable[[EmbedCall], Awaitable[Embedded]]


class Endpoints:
    """The places of models, and which of them were found to have the same one."""

    def __init__(self, failovers: Sequence[Failover], embed: Embed) -> None:
        self._failovers = {(item.provider, item.model): item.to for item in failovers}
        self._embed = embed
        self._same: dict[tuple[object, ...], tuple[float, bool]] = {}
        self._checks: set[asyncio.Task[None]] = set()

    async def embed(self, call: EmbedCall) -> Embedded:
        """Embed at a model's own place, or at another one while that is down.

        Raises what the model's own place raised where none of the others could do it.
        """
        others = self._failovers.get((call.service.provider, call.service.model), ())
        if not others or call.request_keys:
            return await self._embed(call)
        now = time.monotonic()
        try:
            embedded = await self._embed(replace(call, deadline=now + _FIRST_SHARE * (call.deadline - now)))
        except DataApiError as failure:
            if failure.code not in DOWN:
                raise
            for other in others:
                if self._same.get(_identity(call, other), (0.0, False))[1]:
                    log.warning("asked another endpoint", provider=call.service.provider, instead=other.provider)
                    try:
                        return await self._embed(_at(call, other))
                    except DataApiError as problem:
                        log.warning("the other endpoint failed too", provider=other.provider, code=problem.code)
            raise
        for other in others:
            self._check_soon(call, other)
        return embedded

    def _check_soon(self, call: EmbedCall, other: Endpoint) -> None:
        """Compare two places beside the calls, now that one of them is known to work."""
        identity, now = _identity(call, other), time.monotonic()
        checked, same = self._same.get(identity, (-_OLD_SECONDS, False))
        if now - checked < (_OLD_SECONDS if same else _AGAIN_SECONDS):
            return
        self._same[identity] = now, same
        task = asyncio.get_running_loop().create_task(self._check(call, other))
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)

    async def _check(self, call: EmbedCall, other: Endpoint) -> None:
        asked = replace(call, texts=CANARIES, deadline=time.monotonic() + _CHECK_SECONDS, partial=False, cache=False)
        try:
            ours = (await self._embed(asked)).vectors
            theirs = (await self._embed(_at(asked, other))).vectors
        except DataApiError as problem:
            log.warning("endpoints not compared", instead=other.provider, code=problem.code, problem=problem.message)
            return
        least = least_cosine(ours, theirs)
        same = least >= LEAST_COSINE
        self._same[_identity(call, other)] = time.monotonic(), same
        tell = log.info if same else log.error
        tell("endpoints compared", provider=call.service.provider, instead=other.provider, same=same, cosine=least)


def least_cosine(ours: Float32, theirs: Float32) -> float:
    """Return the least cosine between the rows of float32[n, d] and float32[n, d]; -1 where they cannot be compared."""
    if ours.shape != theirs.shape:
        return -1.0
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    if not lengths.all():
        return -1.0
    return float(((ours * theirs).sum(axis=1) / lengths).min())


def _identity(call: EmbedCall, other: Endpoint) -> tuple[object, ...]:
    service = call.service
    parameters = tuple(sorted((name, str(value)) for name, value in service.parameters.items()))
    return call.database, service.provider, service.model, service.dimension, parameters, other.provider, other.model


def _at(call: EmbedCall, other: Endpoint) -> EmbedCall:
    """Return the same call for another place."""
    authentication = {} if other.key is None else {"providerKey": other.key}
    service = Service(other.provider, other.model, call.service.dimension, authentication, other.parameters)
    return replace(call, service=service)
