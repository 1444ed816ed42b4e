"""Requests in every version of HTTP: refused where they are not clear, and answered.

The parsers refuse what is no HTTP: doubtful lengths, chunks and line ends. Here is refused what is HTTP and yet not
clear, for two readers of it (this gateway, and a proxy before it) could take it for two things.
"""

import re
import time
from collections.abc import Mapping
from email.utils import formatdate
from urllib.parse import unquote

import structlog

from services.gateway.exchange import Headers, Request, Respond, Response
from services.gateway.http.body import BAD_REQUEST, Body, IncompleteBodyError

#: Headers that decide how a request is read, and so must not be there twice. (Of several tokens none is taken.)
_ONCE = frozenset((b"host", b"content-type", b"content-length"))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: A request's target that has the scheme and the host before the path (RFC 9112, 3.2.2).
_ABSOLUTE = re.compile(rb"https?://([^/?]*)", re.IGNORECASE)
_SERVER_ERROR = 500
#: Of a request's head: how many headers it may have.
MOST_HEADERS = 100

log = structlog.get_logger(__name__)


def read_request(
    method: bytes, target: bytes, headers: Headers, body: Body, address: str, host_needed: bool
) -> Request | None:
    """Return the request of a head, None where it is not clear.

    Names of headers are in lower case. `address` is the caller's. HTTP/1.0 alone needs no host.
    """
    by_name = dict(headers)
    absolute = _ABSOLUTE.match(target)
    if absolute is not None:
        if absolute[1].lower() != by_name.get(b"host", b"").lower():
            return None
        rest = target[absolute.end() :]
        target = rest if rest.startswith(b"/") else b"/" + rest
    raw, _, query = target.partition(b"?")
    raw_path = raw.decode("latin-1")
    path = unquote(raw_path) if "%" in raw_path else raw_path
    if not is_clear(path, headers, by_name, host_needed) or b"#" in target:
        return None
    return Request(
        method=method.decode("ascii"),
        path=path,
        raw_path=raw_path,
        body=body,
        query=query,
        headers=by_name,
        every_header=headers,
        address=address,
    )


def is_clear(path: str, every_header: Headers, headers: Mapping[bytes, bytes], host_needed: bool) -> bool:
    """Tell whether a request means the same to everybody: one host, a path without control characters.

    `headers` has one header of each name, `every_header` has all.
    """
    # Few requests have any header twice, and only those are looked at one header at a time.
    if len(headers) != len(every_header):
        once = [name for name, _ in every_header if name in _ONCE]
        if len(set(once)) != len(once):
            return False
    if host_needed and not headers.get(b"host"):
        return False
    return path.startswith("/") and _CONTROL.search(path) is None


async def answer(application: Respond, request: Request | None) -> tuple[Response, bool]:
    """Return the answer to a request, None being one that is not clear, and whether its body was read to its end."""
    if request is None:
        return Response(BAD_REQUEST), False
    try:
        response = await application(request)
    except IncompleteBodyError as problem:
        log.info("request ended early", status=problem.status)
        return Response(problem.status), False
    except Exception as problem:
        log.error("unexpected error", path=request.path, exc_info=problem)
        response = Response(_SERVER_ERROR)
    return response, await request.body.discard()


class Clock:
    """The time as answers tell it, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._date = b""

    def date(self) -> bytes:
        """Return the value of the header `date`."""
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True).encode()
        return self._date
