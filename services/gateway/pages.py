"""What the gateway answers beside the Data API, to anybody and without a token: health, metrics and a first page."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec

from services.gateway.metrics import GatewayMetrics

Headers = tuple[tuple[bytes, bytes], ...]

_HEALTH = re.compile(r"/(?:stargate/)?health(?:/(?:live|ready|started))?")
_JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: int
    body: bytes
    headers: Headers


def page(content_type: bytes, body: bytes, status: int = 200, headers: Headers = ()) -> Page:
    """Return an answer of a content type that browsers are not to guess at."""
    return Page(status, body, ((b"content-type", content_type), (b"x-content-type-options", b"nosniff"), *headers))


@dataclass(frozen=True, slots=True)
class Pages:
    """All of them. `ready` tells whether the store and the embedder answer."""

    ready: Callable[[], Awaitable[Mapping[str, bool]]]
    metrics: GatewayMetrics

    async def answer(self, method: str, path: str, headers: Mapping[bytes, bytes], query: bytes) -> Page | None:
        """Return the answer to a request; None where the path is none of these."""
        if path.startswith("/v1"):
            return None
        if _HEALTH.fullmatch(path):
            return await self._health(path)
        if path == "/metrics":
            body, content_type = self.metrics.page(headers.get(b"accept", b"").decode("latin-1"))
            return page(content_type.encode(), body)
        return None

    async def _health(self, path: str) -> Page:
        """Answer a health check in MicroProfile's form; only readiness asks the other services."""
        services = {} if path.endswith(("/live", "/started")) else await self.ready()
        checks = [{"name": name, "status": "UP" if up else "DOWN"} for name, up in services.items()]
        up = all(services.values())
        body = msgspec.json.encode({"status": "UP" if up else "DOWN", "checks": checks})
        return page(_JSON, body, 200 if up else 503)
