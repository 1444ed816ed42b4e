"""Work that is done again and again beside the calls."""

import asyncio
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


async def every(seconds: float, work: Callable[[], object]) -> None:
    """Do blocking work on a thread every so many seconds, until cancelled. A failure is logged, and tried again."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(work)
        except Exception:
            log.exception("work beside the calls failed; it is tried again", seconds=seconds)
