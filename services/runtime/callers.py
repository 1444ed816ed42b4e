"""Who may call which RPCs: the callers that certificates tell apart, and what a service's operator allows each.

A caller's identity is the SPIFFE id of its certificate or, without one, each of its DNS names.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import grpc
import structlog
from grpc_health.v1 import health

from services.runtime.errors import ConfigurationError, DataApiError
from services.runtime.interception import AsyncInterceptor, Interceptor, behaviour_of, with_behaviour
from services.runtime.rpc import abort_arguments

VARIABLE = "ORRERY_RPC_CALLERS"
_EVERYTHING = "*"
#: `Service`, `Service/Method`, or either with the service's whole name.
_RULE = re.compile(r"\*|[A-Za-z_][\w.]*(?:/[A-Za-z_]\w*)?")
_HOW = f"{VARIABLE} is IDENTITY=RULES, with commas between callers and | between rules, such as orrery-gateway=*"
#: Asked by whoever balances calls over several servers.
_OPEN = f"/{health.SERVICE_NAME}/"

#: What callers without a certificate are called: those who may open a socket, or are on the machine.
NO_NAME = "rpc"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Callers:
    """The rules of each caller, by identity: `*`, or names of services and methods."""

    rules: Mapping[str, frozenset[str]]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a list such as `orrery-gateway=*,loader=StoreService/InsertDocuments|StoreService/FindDocuments`.

        Raises `ConfigurationError` for anything else, and for a caller named twice.
        """
        rules: dict[str, frozenset[str]] = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            identity, separator, allowed = entry.rpartition("=")
            names = [name.strip() for name in allowed.split("|")]
            if not separator or not identity or not all(map(_RULE.fullmatch, names)):
                raise ConfigurationError(f"{entry!r} names no caller with rules: {_HOW}")
            if identity in rules:
                raise ConfigurationError(f"{VARIABLE} names {identity!r} twice: join its rules with |")
            rules[identity] = frozenset(names)
        if not rules:
            raise ConfigurationError(f"{VARIABLE} is needed with TLS, for it says who may call what: {_HOW}")
        return cls(rules)

    def allow(self, identities: Sequence[str], method: str) -> bool:
        """Tell whether one of some identities may call a method, such as `/orrery.store.v1.StoreService/Embed`."""
        if method.startswith(_OPEN):
            return True
        service, _, name = method.removeprefix("/").partition("/")
        short = service.rpartition(".")[2]
        matching = {_EVERYTHING, service, short, f"{service}/{name}", f"{short}/{name}"}
        return any(matching & self.rules.get(identity, frozenset()) for identity in identities)

    def check(self, method: str, context: Any) -> None:
        """Refuse a call of a caller that may not make it, and log that.

        Raises `DataApiError`, with `CALLER_NOT_ALLOWED`.
        """
        identities = identities_of(context.auth_context())
        if not self.allow(identities, method):
            log.warning("call refused", caller=list(identities), method=method, peer=context.peer())
            raise DataApiError("CALLER_NOT_ALLOWED", caller=" or ".join(identities) or "without a name", method=method)


def identities_of(proven: Mapping[str, Sequence[bytes]]) -> tuple[str, ...]:
    """Return the identities of a caller from what its connection has proven."""
    values = proven.get("peer_spiffe_id") or proven.get("peer_dns") or ()
    return tuple(value.decode("utf-8", "replace") for value in values)


def caller_name(context: grpc.ServicerContext | grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the names in the certificate of whoever calls, for audit logs; `rpc` where there is none."""
    # The type stubs take the values for single ones.
    proven = cast("Mapping[str, Sequence[bytes]]", context.auth_context())
    return " ".join(identities_of(proven)) or NO_NAME


class CallerInterceptor(Interceptor):
    """Lets a threaded server answer only the callers that may make a call. It stands before all others."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    def around(self, method: str, handler: Any) -> Any:
        """Wrap the handler of a call."""
        if method.startswith(_OPEN):
            return handler
        answer = behaviour_of(handler)

        def check(context: grpc.ServicerContext) -> None:
            try:
                self._callers.check(method, context)
            except DataApiError as error:
                code, message, trailing = abort_arguments(error)
                context.set_trailing_metadata(trailing)
                context.abort(code, message)

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            check(context)
            return answer(request, context)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            check(context)
            yield from answer(request, context)

        wrapped = stream if handler.response_streaming else call
        # Which threads the answer is to run on is written on it.
        wrapped.__dict__.update(answer.__dict__)
        return with_behaviour(handler, wrapped)


class AsyncCallerInterceptor(AsyncInterceptor):
    """Lets an asyncio server answer only the callers that may make a call. It stands before all others."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    def around(self, method: str, handler: Any) -> Any:
        """Wrap the handler of a call."""
        if method.startswith(_OPEN):
            return handler
        answer = behaviour_of(handler)

        async def check(context: grpc.aio.ServicerContext[Any, Any]) -> None:
            try:
                self._callers.check(method, context)
            except DataApiError as error:
                await context.abort(*abort_arguments(error))

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            await check(context)
            return await answer(request, context)

        async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            await check(context)
            async for response in answer(request, context):
                yield response

        return with_behaviour(handler, stream if inspect.isasyncgenfunction(answer) else call)
