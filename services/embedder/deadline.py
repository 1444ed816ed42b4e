"""How long an RPC may take."""

import time
from typing import Any

import grpc

#: How long a call may take whose caller set no deadline, in seconds.
_NO_DEADLINE_SECONDS = 60.0
#: Share of the caller's time that is kept for the answer, so that a provider that is late can be named.
_ANSWER_SHARE = 0.05


def deadline_of(context: grpc.aio.ServicerContext[Any, Any], without_seconds: float = _NO_DEADLINE_SECONDS) -> float:
    """Return until when a call may be worked on, in `time.monotonic` seconds; without a deadline for so long."""
    remaining = context.time_remaining()
    return time.monotonic() + (without_seconds if remaining is None else remaining * (1 - _ANSWER_SHARE))
