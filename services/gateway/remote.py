"""Calls to the store and the embedder: deadlines, and failures of the connection as errors of the catalogue."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import structlog

from services.gateway.observation import Call, current
from services.runtime.errors import DataApiError
from services.runtime.rpc import error_from_call
from services.runtime.traces import outgoing_metadata, span

#: What is wrong between services, and nothing that a caller of the gateway could mend.
_INTERNAL = frozenset(("CALLER_NOT_ALLOWED",))

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Remote:
    """A service to call, with the time it has to answer and the codes for when it does not.

    `unavailable` and `timeout` make the errors for a service that is not there or not in time.
    """

    name: str
    timeout_seconds: float
    unavailable: Callable[[str], DataApiError]
    timeout: Callable[[float], DataApiError]

    async def call(self, method: Callable[..., Any], request: object) -> Any:
        """Call an RPC and return its response.

        Raises `DataApiError`: the service's own, or that it is unavailable or too slow.
        """
        called = type(request).__name__.removesuffix("Request")
        with span(f"{self.name}.{called}", "client", rpc__system="grpc", rpc__method=called):
            return await self._call(method, request, called)

    async def _call(self, method: Callable[..., Any], request: object, called: str) -> Any:
        code, started = "OK", time.perf_counter()
        try:
            # Waiting for the connection bridges the moment in which a service is restarted.
            return await method(
                request, timeout=self.timeout_seconds, wait_for_ready=True, metadata=outgoing_metadata()
            )
        except grpc.aio.AioRpcError as failure:
            error = error_from_call(failure)
            code = failure.code().name if error is None else error.code
            if error is not None and error.code not in _INTERNAL:
                raise error from None
            if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise self.timeout(self.timeout_seconds) from None
            # Addresses, certificates and rules are the operator's to know.
            log.warning("call failed", remote=self.name, status=failure.code().name, problem=failure.details())
            raise self.unavailable(f"the gateway cannot reach it ({failure.code().name})") from None
        finally:
            current().calls.append(Call(self.name, called, code, time.perf_counter() - started))


def store_remote(timeout_seconds: float) -> Remote:
    """Return how the store is called."""
    return Remote(
        "store",
        timeout_seconds,
        lambda problem: DataApiError(
            "UNAVAILABLE_DATABASE",
            problem=problem,
            advice="Nothing is known to have changed; send the request again.",
        ),
        lambda seconds: DataApiError("TIMEOUT_READING_DATA", seconds=seconds),
    )


def embedder_remote(timeout_seconds: float) -> Remote:
    """Return how the embedder is called."""
    return Remote(
        "embedder",
        timeout_seconds,
        lambda problem: DataApiError("EMBEDDING_GATEWAY_NOT_AVAILABLE", problem=problem),
        lambda seconds: DataApiError(
            "EMBEDDING_GATEWAY_NOT_AVAILABLE", problem=f"it did not answer within {seconds:g} seconds"
        ),
    )
