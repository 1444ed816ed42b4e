"""The audit log: one JSON object a line for every change of a credential, appended and never changed.

A line is on disk before its change is committed: after a crash the log may tell of a change that did not come about,
but no change is missing from it. It says what was changed and never holds a secret.
"""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

#: Who asked for a change: a caller of an RPC, or the one who changed the directory of credentials.
Who = Literal["rpc", "directory"]


class AuditLog:
    """The file, for its owner alone. It is opened for each line, so that it may be moved away while Orrery runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(
        self,
        what: str,
        provider: str,
        name: str,
        *,
        before: Sequence[str],
        after: Sequence[str],
        version: int | None = None,
        who: Who = "rpc",
    ) -> None:
        """Append a change and wait until it is on disk.

        `before` and `after` are the databases of the scope; `version` is the number of the secret that is active then.
        Raises `OSError` when it cannot be written.
        """
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "what": what,
            "provider": provider,
            "name": name,
            "databases_before": list(before),
            "databases_after": list(after),
            "active_version": version,
            "who": who,
        }
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            self._append(descriptor, line)
        finally:
            os.close(descriptor)

    def _append(self, descriptor: int, line: bytes) -> None:
        state = os.fstat(descriptor)
        # Only where needed: the operator may have made the file append-only, and then its mode cannot be set.
        if state.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
        if state.st_size and os.pread(descriptor, 1, state.st_size - 1) != b"\n":
            # The rest of a line that a crash or a full disk cut off.
            line = b"\n" + line
        if os.write(descriptor, line) != len(line):
            raise OSError(f"{self._path} could not be written whole")
        os.fsync(descriptor)
        if not state.st_size:
            _sync_folder(self._path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new file's name last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
