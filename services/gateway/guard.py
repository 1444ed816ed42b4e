"""What a request has to be before the application sees it: between the HTTP server's ASGI and the application.

The HTTP server refuses what is no HTTP: heads that are too large, doubtful lengths and chunks. Here is refused what is
HTTP and yet not clear, for two readers of it (this gateway, and a proxy before it) could take it for two things.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from services.gateway.body import Body, Deadlines, IncompleteBodyError, Receive
from services.gateway.connections import Connections
from services.gateway.exchange import Headers, Request, Respond, Response
from services.gateway.settings import HttpSettings

Scope = Mapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Headers that decide how a request is read, and so must not be there twice. (Of several tokens none is taken.)
_ONCE = frozenset((b"host", b"content-type", b"content-length"))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_REQUEST = 400
#: How often it is looked whether parts of bodies are late, in seconds; oftener where they have less time than that.
_LOOK_SECONDS, _LOOKS = 0.1, 20
#: Instead of what serves it, and in which version.
_SERVER = (b"server", b"orrery")
_CLOSE = (b"connection", b"close")

log = structlog.get_logger(__name__)


class Guard:
    """An ASGI application that refuses unclear requests, bounds how long bodies take, and closes connections to drain.

    While `draining` is set, each answer tells its caller to use another connection for the next request.
    """

    def __init__(self, application: Respond, settings: HttpSettings, connections: Connections) -> None:
        self._application = application
        self._settings = settings
        self._connections = connections
        self._deadlines = Deadlines(min(_LOOK_SECONDS, settings.body_seconds / _LOOKS))
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        use = self._connections.begin(int(scope["client"][1]))
        try:
            response, refused = await self._answer(scope, receive)
            closing = (refused or self.draining) and scope["http_version"].startswith("1")
            length = (b"content-length", b"%d" % len(response.body))
            headers = [length, *response.headers, _SERVER, *((_CLOSE,) if closing else ())]
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            await send({"type": "http.response.body", "body": response.body})
        finally:
            use.end()

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[Response, bool]:
        """Return the answer, and whether nothing more is to be read from the request's connection."""
        listed: Headers = scope["headers"]
        headers = dict(listed)
        path: str = scope["path"]
        if not is_clear(scope["http_version"], path, listed, headers):
            return Response(_BAD_REQUEST), True
        request = Request(
            method=scope["method"],
            path=path,
            raw_path=scope["raw_path"].decode("ascii", "replace"),
            body=Body(receive, headers, self._settings, self._deadlines),
            query=scope["query_string"],
            headers=headers,
            every_header=listed,
            address=scope["client"][0],
        )
        try:
            response = await self._application(request)
            return response, not await request.body.discard()
        except IncompleteBodyError as problem:
            log.info("request ended early", status=problem.status)
            return Response(problem.status), True


def is_clear(http_version: str, path: str, every_header: Headers, headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a request means the same to everybody: one host, no control characters in its path.

    `headers` has one header of each name, `every_header` has all.
    """
    # Few requests have any header twice, and only those are looked at one header at a time.
    if len(headers) != len(every_header):
        once = [name for name, _ in every_header if name in _ONCE]
        if len(set(once)) != len(once):
            return False
    if http_version == "1.1" and not headers.get(b"host"):
        return False
    return _CONTROL.search(path) is None
