"""The journal of a load: which rows of which file the endpoint has acknowledged.

Lines of JSON, only ever added to. A line is written after the rows that it names were acknowledged, so a journal that
lost its end, with a process or a machine, makes rows be sent again, which harms nothing: their ids are known.
"""

import fcntl
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

from services.transfer.errors import UsageError
from services.transfer.row_set import RowSet, ranges_of

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file holds: its size and the SHA-256 of all of it."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return the identity of a file, which is read whole: a change anywhere in it counts."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(file.tell(), digest)


@dataclass(slots=True)
class FileProgress:
    """What is known of one file: acknowledged rows, and those of them that were rejected; counts of the others."""

    identity: Identity
    done: RowSet = field(default_factory=RowSet)
    rejected: set[int] = field(default_factory=set)
    loaded: int = 0
    there: int = 0


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Rows of one file that need no more work; `rejected` are those of them that were not loaded."""

    rows: list[int]
    rejected: list[int]
    loaded: int
    there: int


class Journal:
    """The journal in a file, locked while it is open. `load` is what the load is of: target and mapping.

    Raises `UsageError` when another load has the file open, or when it is of a different load.
    """

    def __init__(self, path: Path, load: Mapping[str, Any], *, restart: bool = False) -> None:
        self.path = path
        self.files: dict[str, FileProgress] = {}
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as problem:
            raise UsageError(
                f"cannot write the journal {path}: {problem.strerror}. Give --state FILE somewhere else"
            ) from None
        try:
            self._lock()
            if restart:
                os.ftruncate(self._descriptor, 0)
            self._read(dict(load))
        except BaseException:
            os.close(self._descriptor)
            raise

    def open_file(self, name: str, identity: Identity) -> FileProgress:
        """Return what is known of a file. Raises `UsageError` when it is not the file that was begun with."""
        known = self.files.get(name)
        if known is not None and known.identity != identity:
            raise UsageError(
                f"{name} has changed since this load began, so its rows may be others than the {len(known.done)} that "
                f"{self.path} tells of. Put the old file back, or give --restart to load the file from its beginning: "
                "documents that are there already are told by their _id"
            )
        if known is None:
            known = self.files[name] = FileProgress(identity)
            self._append({"file": name, "size": identity.size, "sha256": identity.sha256})
        return known

    def acknowledge(self, name: str, rows: Acknowledged) -> None:
        """Note that rows of a file need no more work."""
        line = {"file": name, "rows": ranges_of(rows.rows), "loaded": rows.loaded, "there": rows.there}
        if rows.rejected:
            line["rejected"] = rows.rejected
        self._append(line)
        self._apply(line)

    def forget_rejected(self, name: str) -> int:
        """Take a file's rejected rows for unacknowledged again; return how many."""
        rows = sorted(self.files[name].rejected)
        if rows:
            line = {"file": name, "again": rows}
            self._append(line)
            self._apply(line)
        return len(rows)

    def close(self) -> None:
        """Put the journal on disk and let others have it."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another load is writing {self.path}: wait for it, or give --state another file"
            ) from None

    def _read(self, load: dict[str, Any]) -> None:
        content = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        read = 0
        for line in content.splitlines(keepends=True):
            entry = _entry(line)
            if entry is None:
                break
            if read == 0:
                self._check_load(entry, load)
            else:
                self._apply(entry)
            read += len(line)
        # What follows was not written whole.
        os.ftruncate(self._descriptor, read)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        if read == 0:
            self._append({"journal": _VERSION, "load": load})

    def _check_load(self, header: dict[str, Any], load: dict[str, Any]) -> None:
        before = header.get("load")
        if header.get("journal") != _VERSION or not isinstance(before, dict):
            raise UsageError(
                f"{self.path} is no journal of a load that this version can read: give --state another file"
            )
        names = sorted(name for name in {*before, *load} if before.get(name) != load.get(name))
        if names:
            change = "; ".join(f"{name} was {before.get(name)!r} and is now {load.get(name)!r}" for name in names)
            raise UsageError(
                f"{self.path} is the journal of another load: {change}. Give the same options to go on with it, "
                "--restart to begin anew, or --state another file"
            )

    def _apply(self, entry: dict[str, Any]) -> None:
        name = entry["file"]
        if "sha256" in entry:
            self.files[name] = FileProgress(Identity(entry["size"], entry["sha256"]))
            return
        known = self.files[name]
        if "again" in entry:
            known.done.discard(entry["again"])
            known.rejected.difference_update(entry["again"])
            return
        for first, last in entry["rows"]:
            known.done.add(first, last)
        known.rejected.update(entry.get("rejected", ()))
        known.loaded += entry["loaded"]
        known.there += entry["there"]

    def _append(self, line: Mapping[str, Any]) -> None:
        # One call, so that a kill leaves a line whole or torn at the end, never mixed.
        os.write(self._descriptor, msgspec.json.encode(line) + b"\n")


def journal_path(source: Path, keyspace: str, collection: str) -> Path:
    """Return where the journal of one file goes: beside it, one for each collection it is loaded into."""
    return source.with_name(f"{source.name}.{keyspace}.{collection}.journal")


def _entry(line: bytes) -> dict[str, Any] | None:
    """Return a line of a journal, None for one that was not written whole."""
    if not line.endswith(b"\n"):
        return None
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
