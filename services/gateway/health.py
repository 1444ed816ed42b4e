"""Whether the gateway can serve: itself, and the services that it asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


@dataclass(frozen=True, slots=True)
class Check:
    """What was found of one thing; `data` is told to anybody who asks."""

    name: str
    up: bool
    data: Mapping[str, object]


class Health:
    """Checks of a gateway and of the services behind some channels. Once `stop` is set, it is not ready."""

    def __init__(
        self, channels: Mapping[str, grpc.aio.Channel], timeout_seconds: float, stop: asyncio.Event | None = None
    ) -> None:
        # The stub's methods are set on the instance, where the type stubs do not show them.
        self._stubs: dict[str, Any] = {name: health_pb2_grpc.HealthStub(channel) for name, channel in channels.items()}
        self._timeout_seconds = timeout_seconds
        self._stop = stop
        self._started = time.monotonic()

    def live(self) -> Check:
        """Return that the gateway runs, and since when."""
        return Check("gateway", up=True, data={"uptimeSeconds": round(time.monotonic() - self._started)})

    async def ready(self) -> list[Check]:
        """Return whether all services answer, asked at once, and whether the gateway goes on serving."""
        services = await asyncio.gather(*(self._service(name, stub) for name, stub in self._stubs.items()))
        draining = self._stop is not None and self._stop.is_set()
        return [Check("gateway", up=not draining, data={"draining": draining}), *services]

    async def _service(self, name: str, stub: Any) -> Check:
        started = time.monotonic()
        try:
            response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=self._timeout_seconds)
        except grpc.aio.AioRpcError as failure:
            # Its code alone: the rest may name addresses.
            return Check(name, up=False, data={"problem": failure.code().name})
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
        milliseconds = round((time.monotonic() - started) * 1000, 1)
        return Check(name, up=status == "SERVING", data={"serving": status, "milliseconds": milliseconds})
