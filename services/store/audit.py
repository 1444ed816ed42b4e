"""The store's audit log: who changed databases and tokens, on disk before the change is committed."""

from pathlib import Path

import structlog

from services.runtime.audit import AuditFile
from services.store.faults import write_failure

#: Who changed what nobody asked for by RPC.
THE_STORE = "store"

log = structlog.get_logger(__name__)


class Audit:
    """The audit log in a file. Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = AuditFile(path)

    def note(self, what: str, who: str, **details: object) -> None:
        """Have a change on disk, and in the log of the service. To be called before the change is committed.

        Raises `FAILED_WRITE_REQUEST` where it cannot be written; then the change is not to be made.
        """
        try:
            self._file.add({"what": what, **details, "who": who})
        except OSError as problem:
            log.exception("audit log not written", what=what, who=who)
            raise write_failure(problem, self._path) from problem
        log.warning(what, **details, who=who)
