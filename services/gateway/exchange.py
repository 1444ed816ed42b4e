"""A request over HTTP as the gateway's application sees it, and the response that it gives."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.gateway.http.body import Body

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(slots=True)
class Request:
    """A request.

    `path` is decoded and `raw_path` as it was sent; `query` is what follows the question mark. Of a header that is
    there several times, `headers` has the last one, and `every_header` has them all. `address` is the remote one,
    empty where there is none.
    """

    method: str
    path: str
    raw_path: str
    body: Body
    query: bytes = b""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    every_header: Headers = ()
    address: str = ""


class Response(NamedTuple):
    """A response; `headers` are those besides the body's length."""

    status: int
    body: bytes = b""
    headers: Headers = ()


#: What answers requests.
Respond = Callable[[Request], Awaitable[Response]]
