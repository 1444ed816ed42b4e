"""The id of a request: made where it enters, sent along with every RPC, and in every log line about it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from contextvars import ContextVar

#: The header of HTTP requests and the key in the metadata of RPCs.
HEADER = "x-request-id"
#: The id of the request that the running task or thread works for; empty for none.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

#: Whoever calls may choose the id, but neither fill the logs with it nor write lines of their own.
_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: An RPC that several requests share carries all their ids, with commas between.
_WELL_FORMED_LIST = re.compile(r"[A-Za-z0-9._-]{1,64}(?:,[A-Za-z0-9._-]{1,64}){0,63}")


def request_id(given: str) -> str:
    """Return the id that a request came with if it is well-formed, otherwise a new one."""
    if given and _WELL_FORMED.fullmatch(given):
        return given
    # No secret, so it need not come from the operating system, which would be asked for each request.
    return f"{random.getrandbits(128):032x}"


def received_ids(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the ids that an RPC came with, commas between them; empty for none that are well-formed."""
    for key, value in metadata:
        if key == HEADER and isinstance(value, str):
            return value if _WELL_FORMED_LIST.fullmatch(value) else ""
    return ""
