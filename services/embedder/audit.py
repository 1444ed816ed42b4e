"""The audit log of credentials: every change of one, and never a secret.

A line is on disk before its change is committed: after a crash the log may tell of a change that did not come about,
but no change is missing from it.
"""

from collections.abc import Sequence
from pathlib import Path

from services.runtime.audit import AuditFile

#: Who changed what nobody asked for by RPC: whoever changed the directory of credentials.
THE_DIRECTORY = "directory"


class AuditLog:
    """The file `audit.log` beside the credentials."""

    def __init__(self, path: Path) -> None:
        self._file = AuditFile(path)

    def add(
        self,
        what: str,
        provider: str,
        name: str,
        *,
        before: Sequence[str],
        after: Sequence[str],
        version: int | None = None,
        who: str,
    ) -> None:
        """Append a change and wait until it is on disk.

        `before` and `after` are the databases of the scope; `version` is the number of the secret that is active then;
        `who` is the caller.
        Raises `OSError` when it cannot be written.
        """
        self._file.add(
            {
                "what": what,
                "provider": provider,
                "name": name,
                "databases_before": list(before),
                "databases_after": list(after),
                "active_version": version,
                "who": who,
            }
        )
