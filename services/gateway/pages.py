"""What the gateway answers beside the Data API, to anybody and without a token.

Health, metrics, the OpenAPI document, a page to try the API, and a first page. Nothing here asks for anything from
elsewhere: a browser may load from, and send to, this server alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec

from services.gateway import openapi
from services.gateway.exchange import Headers, Request, Response
from services.gateway.health import Health
from services.gateway.limits import Limits
from services.gateway.metrics import GatewayMetrics

_HEALTH = re.compile(r"/(?:stargate/)?health(?:/(?:live|ready|started))?")
_STATUS = {True: "UP", False: "DOWN"}
_OPENAPI = "/api/json/openapi"
_METRICS = "/metrics"
_JSON, _YAML, _HTML = b"application/json", b"application/yaml", b"text/html; charset=utf-8"
#: Files of `assets` by path, each with its content type.
_FILES = {
    "/": ("index.html", _HTML),
    "/swagger-ui": ("try.html", _HTML),
    "/swagger-ui/": ("try.html", _HTML),
    "/swagger-ui/page.css": ("page.css", b"text/css; charset=utf-8"),
    "/swagger-ui/page.js": ("page.js", b"text/javascript; charset=utf-8"),
    "/swagger-ui/icon.svg": ("icon.svg", b"image/svg+xml"),
}
#: A script that got into a page nevertheless could load nothing and send nothing away.
_CONTENT_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_GUARDS: Headers = (
    (b"content-security-policy", _CONTENT_SECURITY_POLICY),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


@dataclass(frozen=True, slots=True)
class Pages:
    """All of them."""

    health: Health
    metrics: GatewayMetrics
    limits: Limits

    async def answer(self, request: Request) -> Response | None:
        """Return the answer to a request; None where it is for none of these, which can only be read."""
        path = request.path
        if path.startswith("/v1") or request.method not in ("GET", "HEAD"):
            return None
        health = _HEALTH.fullmatch(path) is not None
        if not health and path not in _FILES and path not in (_METRICS, _OPENAPI):
            return None
        if health:
            return await self._health(path)
        if path == _METRICS:
            body, content_type = self.metrics.page(request.headers.get(b"accept", b"").decode("latin-1"))
            return _page(content_type.encode(), body)
        if path == _OPENAPI:
            if b"format=json" in request.query.lower().split(b"&"):
                return _page(_JSON, openapi.as_json(self.limits))
            return _page(_YAML, openapi.as_yaml(self.limits))
        name, content_type_of_file = _FILES[path]
        return _page(content_type_of_file, _asset(name))

    async def _health(self, path: str) -> Response:
        """Answer a health check in MicroProfile's form; only readiness asks the other services."""
        checks = [self.health.live()] if path.endswith(("/live", "/started")) else await self.health.ready()
        up = all(check.up for check in checks)
        listed = [{"name": check.name, "status": _STATUS[check.up], "data": check.data} for check in checks]
        body = msgspec.json.encode({"status": _STATUS[up], "checks": listed})
        return _page(_JSON, body, 200 if up else 503)


def _page(content_type: bytes, body: bytes, status: int = 200) -> Response:
    return Response(status, body, ((b"content-type", content_type), *_GUARDS))


@cache
def _asset(name: str) -> bytes:
    return files("services.gateway").joinpath("assets", name).read_bytes()
