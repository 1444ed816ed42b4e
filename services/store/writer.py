"""The one connection that writes a SQLite file, and whether the file may be written.

After an fsync that failed, the kernel counts the pages it could not write as written: the next fsync succeeds and
the pages are on no disk. PostgreSQL ends itself then and writes everything anew from its log; SQLite reports the
error and goes on. What SQLite does next is sound for a commit, because the next one writes the same part of the
log anew. It is not for a checkpoint: pages that an earlier, partial checkpoint copied are not copied again. So
checkpoints are run here, where their errors are seen, and after an fsync that failed the file takes no write until

1. an empty transaction is durable, which overwrites in the log what the failed commit left there: otherwise the
   next opening would find that commit whole;
2. the file was closed by everybody and opened again, so that SQLite reads the whole log, and all of it was copied
   to the file, synced and cut off.
"""

import errno
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path as FilePath

import apsw
import structlog

from services.runtime.errors import DataApiError
from services.store.documents import open_database
from services.store.faults import Fault, describe, fault_of, sync_failed, write_failure

#: Pages of the log past which it is copied to the file.
_CHECKPOINT_PAGES = 1000
#: Seconds between attempts to have a file writable again.
_MEND_SECONDS = 1.0
_UNKNOWN = (
    "The change is undone. Should the store end before the disk works again, though, it may be found made: look "
    "before sending the request again."
)

_READ_ONLY_DIRECTORY = "the data directory can only be read; make it writable and start the store again"

log = structlog.get_logger(__name__)


class Writer:
    """Opens a file for writing and keeps it fit for that. For one thread at a time.

    `connection` is another one after `check` had to open the file again; `alone` gives a context in which nobody
    else has the file open, and `reopened` is told. With `read_only` the file is opened as one that nobody changes.

    Raises `apsw.Error` where the file cannot be opened, `OSError` likewise.
    """

    def __init__(
        self,
        path: FilePath,
        *,
        create: bool = False,
        read_only: bool = False,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
        reopened: Callable[[apsw.Connection], None] = lambda _: None,
    ) -> None:
        self.path = path
        self._alone = alone
        self._reopened = reopened
        self._read_only = read_only
        self._pages = 0
        #: Why the file takes no write, as part of a message; what it was; and whether the file has to be opened again.
        self._refusal = ""
        self._reported: Fault | None = None
        self._corrupt = False
        self._next_attempt = 0.0
        self._closed = False
        self.connection = self._open(create=create)

    def check(self) -> None:
        """Have the file fit for a write, mending it if the last attempt is a second ago.

        Raises `FAILED_WRITE_REQUEST` where it is not fit.
        """
        if not self._refusal:
            return
        if not self._read_only and not self._corrupt and time.monotonic() >= self._next_attempt:
            self._mend()
        if self._refusal:
            raise DataApiError("FAILED_WRITE_REQUEST", problem=self._refusal, consequence="Nothing was changed.")

    @property
    def refusal(self) -> str:
        """Return why the file takes no writes, for a message; empty where it does."""
        return self._refusal

    def revive(self) -> None:
        """Open the file again if the last attempt to mend it came only as far as closing it."""
        if self._closed and time.monotonic() >= self._next_attempt:
            self._mend()

    def failed(self, problem: apsw.Error, *, committing: bool) -> DataApiError:
        """Take note of a write that failed, after it was rolled back; return the error to answer.

        `committing` says that it was the commit: then it may lie in the log whole, unless the disk was full.
        """
        number = self._system_errno(problem)
        self._report(problem, number)
        if isinstance(problem, apsw.CorruptError | apsw.NotADBError):
            self._corrupt = True
            self._refuse(problem, number)
        elif (
            sync_failed(problem)
            or isinstance(problem, apsw.ReadOnlyError)
            or (committing and not isinstance(problem, apsw.FullError | apsw.BusyError))
        ):
            self._refuse(problem, number)
        if not self._refusal or self._corrupt or not committing:
            return write_failure(problem, self.path, number)
        # A fault that has passed already leaves nothing to wonder about.
        error = write_failure(problem, self.path, number)
        self._mend()
        return error if not self._refusal else write_failure(problem, self.path, number, consequence=_UNKNOWN)

    def committed(self) -> None:
        """Copy the log to the file when it is long. A failure is no failure of what was committed."""
        if self._reported is not None:
            log.info("writing goes on", file=str(self.path))
            self._reported = None
        if self._pages >= _CHECKPOINT_PAGES:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def empty_log(self, milliseconds: int) -> bool:
        """Copy all of the log to the file and cut it; False where somebody reads from it for longer than that."""
        usual = next(int(value) for (value,) in self.connection.execute("PRAGMA busy_timeout"))
        self.connection.set_busy_timeout(milliseconds)
        try:
            return self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            self.connection.set_busy_timeout(usual)

    def close(self) -> None:
        """Close the connection, the log copied to the file where that can be done."""
        if not self._refusal:
            self.connection.set_busy_timeout(0)
            self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self.connection.close()

    def _checkpoint(self, mode: int) -> bool:
        """Copy the log to the file and tell whether nobody was in the way; failures are noted."""
        try:
            self.connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            return False  # somebody reads; the log is copied another time
        except apsw.Error as problem:
            number = self._system_errno(problem)
            self._report(problem, number)
            if sync_failed(problem):
                self._refuse(problem, number)
        return True

    def _mend(self) -> None:
        """Make the file fit for writing again, or leave it refused and say so once."""
        self._next_attempt = time.monotonic() + _MEND_SECONDS
        try:
            if not self._closed and not self.connection.readonly("main"):
                self._overwrite_what_failed()
            with self._alone():
                self.connection.close()
                self._closed = True
                self.connection = self._open()
                self._closed = False
                self._reopened(self.connection)
        except TimeoutError:
            log.info("waiting for readers to open a file again", file=str(self.path))
        except (apsw.Error, OSError) as problem:
            number = self._system_errno(problem)
            self._refuse(problem, number)
            self._report(problem, number)

    def _overwrite_what_failed(self) -> None:
        """Commit a transaction that changes nothing but the log. Raises `apsw.Error`."""
        try:
            version = next(int(value) for (value,) in self.connection.execute("PRAGMA user_version"))
            self.connection.execute(f"BEGIN IMMEDIATE; PRAGMA user_version = {version}; COMMIT")
        except apsw.Error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def _open(self, *, create: bool = False) -> apsw.Connection:
        """Open the file, all of its log copied to it: what SQLite finds in the log is not known to be on disk."""
        if self._read_only:
            self._refusal = _READ_ONLY_DIRECTORY
            return open_unchanging(self.path)
        self._refusal = ""
        connection = open_database(self.path, create=create)
        # As long as the file is in doubt, nobody else may copy the log either.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        # In place of the checkpoints that SQLite runs by itself, whose errors it keeps to itself too.
        connection.set_wal_hook(self._count_pages)
        self._pages = 0
        if connection.readonly("main"):
            # SQLite does by itself with less where it may not write.
            self.connection = connection
            self._refuse(apsw.ReadOnlyError(f"opened for reading only: {self.path.name}"), errno.EACCES)
            return connection
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            pass  # a reader of before; the log stays
        except apsw.CorruptError:
            connection.close()
            raise
        except apsw.Error as problem:
            self._refuse(problem, connection.system_errno)
            self._report(problem, connection.system_errno)
        return connection

    def _count_pages(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def _refuse(self, problem: Exception, number: int) -> None:
        self._refusal = describe(problem, self.path, number)
        self._next_attempt = time.monotonic() + _MEND_SECONDS

    def _report(self, problem: Exception, number: int) -> None:
        fault = fault_of(problem, number)
        if fault is not self._reported:
            said = describe(problem, self.path, number)
            log.error("a file cannot be written", file=str(self.path), problem=said, errno=errno.errorcode.get(number))
        self._reported = fault

    def _system_errno(self, problem: Exception) -> int:
        if isinstance(problem, OSError):
            return problem.errno or 0
        try:
            return self.connection.system_errno if isinstance(problem, apsw.IOError | apsw.CantOpenError) else 0
        except apsw.ConnectionClosedError:
            return 0


def open_unchanging(path: FilePath) -> apsw.Connection:
    """Open a file that nobody can change, for reading.

    SQLite reads its log through a file of shared memory beside it. Where that is missing and cannot be made, only a
    file whose log is empty can be read, and as one that is never locked (`immutable`): so would SQLite pass over a
    log that holds writes. Raises `apsw.Error`, and `OSError` where a log is there but its shared memory is not.
    """
    wal, memory = (path.with_name(path.name + ending) for ending in ("-wal", "-shm"))
    pending = wal.exists() and wal.stat().st_size > 0
    if pending and not memory.exists():
        raise OSError(
            errno.EROFS,
            f"{path} was not closed properly, and its last writes can only be read once it is opened for writing: "
            "start the store once with the directory writable",
        )
    uri = f"{path.absolute().as_uri()}?mode=ro{'' if pending else '&immutable=1'}"
    return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
