"""What a failing disk means: which fault it is, in words that say where it happened and what to do."""

import enum
import errno
from pathlib import Path as FilePath

import apsw

from services.runtime.errors import DataApiError

#: What SQLite raises when the disk, or the file, is at fault and not the statement.
DISK_ERRORS = (
    apsw.IOError,
    apsw.FullError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.BusyError,
    apsw.ProtocolError,
)
_SYNC_CODES = (apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC)
_NOTHING_CHANGED = "Nothing was changed."


class Fault(enum.Enum):
    """What is wrong with a file, and what to do about it. `{file}` is the file's path below the data directory."""

    FULL = "the disk that holds {file} is full; free space there, and writing goes on by itself"
    READ_ONLY = "{file} can only be read; make its file system and the file writable, and writing goes on by itself"
    CORRUPT = "{file} is corrupt; stop the store, keep a copy of the file and restore the collection from a backup"
    SYNC = (
        "the disk that holds {file} did not confirm a write (fsync), so what it has cannot be relied on; look at the "
        "disk and the system's log. Writing goes on by itself once the file was written anew"
    )
    INPUT_OUTPUT = "the disk that holds {file} fails; look at the disk and the system's log"
    BUSY = "another process holds {file}; only the store may open it"


def fault_of(problem: Exception, system_errno: int = 0) -> Fault:
    """Tell which fault an error of SQLite's (with the system's number of it, where known) or of the system's is."""
    number = (problem.errno or 0) if isinstance(problem, OSError) else system_errno
    if isinstance(problem, apsw.FullError) or number in (errno.ENOSPC, errno.EDQUOT):
        return Fault.FULL
    if isinstance(problem, apsw.ReadOnlyError) or number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return Fault.READ_ONLY
    if isinstance(problem, apsw.CorruptError | apsw.NotADBError):
        return Fault.CORRUPT
    if isinstance(problem, apsw.BusyError | apsw.ProtocolError):
        return Fault.BUSY
    return Fault.SYNC if sync_failed(problem) else Fault.INPUT_OUTPUT


def sync_failed(problem: Exception) -> bool:
    """Tell whether it was an fsync that failed."""
    return isinstance(problem, apsw.IOError) and getattr(problem, "extendedresult", 0) in _SYNC_CODES


def describe(problem: Exception, file: FilePath, system_errno: int = 0) -> str:
    """Return what happened to a file and what to do, as the part of a message."""
    said = fault_of(problem, system_errno).value.format(file=shown_path(file))
    return f"{said} ({problem})"


def write_failure(
    problem: Exception, file: FilePath, system_errno: int = 0, *, consequence: str = _NOTHING_CHANGED
) -> DataApiError:
    """Return `FAILED_WRITE_REQUEST` for what the disk did. `consequence` says what has become of the write."""
    return DataApiError("FAILED_WRITE_REQUEST", problem=describe(problem, file, system_errno), consequence=consequence)


def read_failure(problem: Exception, file: FilePath, system_errno: int = 0) -> DataApiError:
    """Return `FAILED_READ_REQUEST` for what the disk did."""
    return DataApiError("FAILED_READ_REQUEST", problem=describe(problem, file, system_errno))


def shown_path(file: FilePath) -> str:
    """Return a path as callers may see it: from the data directory on, not where that is on the machine."""
    parts = file.parts
    return "/".join(parts[-3:] if len(parts) > 2 and parts[-3] == "collections" else parts[-1:])
