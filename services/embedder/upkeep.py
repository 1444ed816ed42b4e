"""Work that is done again and again beside the calls."""

import asyncio
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


async def every(seconds: float, work: Callable[[], object]) -> None:
    """Do blocking work on a thread every so many seconds, until cancelled; a failure is logged, and the next try is on.

    A failure's text is not logged, because nobody knows what is in it: its kind and place are.
    """
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(work)
        except Exception:
            log.exception("work beside the calls failed; it is tried again", seconds=seconds)
