"""Who created and dropped what through the Data API, and who was refused: in the log, and in a file if one is given.

A line of the file is on disk before the answer goes out. Lines of refusals are bounded, because anybody can cause them:
for each token by itself and for all who have none together, so that guesses do not hide what a token was refused.
"""

import asyncio
from pathlib import Path

import structlog

from services.gateway.rates import Buckets
from services.runtime.audit import AuditFile
from services.runtime.errors import ConfigurationError

#: Refusals of one token, or of all who have none, that are told a second, and at once.
_DENIALS_PER_SECOND, _DENIALS_AT_ONCE = 5.0, 50.0
#: Tokens whose refusals are counted.
_TOKENS = 10_000

log = structlog.get_logger(__name__)


class Audit:
    """The audit log of a gateway; `file` "" has only the structured log.

    Raises `ConfigurationError` for a file that cannot be written.
    """

    def __init__(self, file: str = "") -> None:
        self._file = AuditFile(Path(file)) if file else None
        if self._file is not None:
            try:
                self._file.add({"what": "gateway started"})
            except OSError as problem:
                raise ConfigurationError(f"the audit log {file} cannot be written: {problem.strerror}") from None
        self._denials = Buckets(_TOKENS)
        self._untold = 0
        self._writing: set[asyncio.Task[None]] = set()

    async def add(self, what: str, **details: object) -> None:
        """Tell of an action and how it ended."""
        log.info("audit", what=what, **details)
        await self._write({"what": what, **details})

    def denied(self, what: str, *, token: str | None = None, **details: object) -> None:
        """Tell of a refusal, of a valid token by its id; where there are too many, only how many there were."""
        if self._denials.take(token or "", _DENIALS_PER_SECOND, _DENIALS_AT_ONCE):
            self._untold += 1
            return
        untold, self._untold = self._untold, 0
        if token is not None:
            details["token"] = token
        if untold:
            details["not_told_before"] = untold
        log.warning("access denied", what=what, **details)
        if self._file is not None:
            task = asyncio.create_task(self._write({"what": f"denied: {what}", **details}))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    async def settle(self) -> None:
        """Wait until the refusals told so far are on disk."""
        await asyncio.gather(*self._writing)

    async def _write(self, entry: dict[str, object]) -> None:
        if self._file is None:
            return
        try:
            await asyncio.to_thread(self._file.add, entry)
        except OSError as problem:
            log.error("the audit log cannot be written", problem=str(problem), **entry)
