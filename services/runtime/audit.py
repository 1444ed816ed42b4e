"""Audit logs: a file with one JSON object a line, appended and never changed, on disk when `add` returns."""

import json
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from services.runtime.durability import sync


class AuditFile:
    """The file, for its owner alone. It is opened for each line, so that it may be moved away while Orrery runs.

    Safe to use from many threads. Whoever adds a line sees to it that it holds no secret.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def add(self, entry: Mapping[str, object]) -> None:
        """Append an entry, its time in front, and wait until it is on disk.

        Raises `OSError` when it cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": now, **entry}, ensure_ascii=False).encode() + b"\n"
        with self._lock:
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
            # So that the name of a new file lasts.
            sync(self._path.parent)
