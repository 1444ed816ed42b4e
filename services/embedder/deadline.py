"""How long an RPC may take."""

import time
from typing import Any

import grpc

#: How long a call may take whose caller set no deadline, in seconds.
_NO_DEADLINE_SECONDS = 60.0
#: What is kept of the caller's time for the answer, so that a provider that is late can be named: a share of it, and
#: at least so many seconds, where that is not too large a share.
_ANSWER_SHARE, _ANSWER_SECONDS, _LARGEST_SHARE = 0.05, 0.1, 0.2


def deadline_of(context: grpc.aio.ServicerContext[Any, Any], without_seconds: float = _NO_DEADLINE_SECONDS) -> float:
    """Return until when a call may be worked on, in `time.monotonic` seconds; without a deadline for so long."""
    remaining = context.time_remaining()
    if remaining is None:
        return time.monotonic() + without_seconds
    kept = max(remaining * _ANSWER_SHARE, min(_ANSWER_SECONDS, remaining * _LARGEST_SHARE))
    return time.monotonic() + remaining - kept
