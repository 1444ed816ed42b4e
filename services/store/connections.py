"""The connections to one collection's file: one that writes, and as many as there are readers at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath

import apsw
import structlog

from services.documents.indexing import Indexing
from services.runtime.durability import sync
from services.runtime.errors import DataApiError
from services.store.documents import DocumentTables, create_tables, open_database
from services.store.faults import DISK_ERRORS, read_failure
from services.store.filter_index import FilterIndex
from services.store.writer import Writer, open_unchanging

#: The file in a collection's folder.
FILE_NAME = "documents.db"
#: Pages that a connection keeps in memory, in KiB: those of the trees above the rows. The system has the others.
_WRITER_CACHE, _READER_CACHE = 8_000, 1_000
#: Reading connections that are kept open while nobody reads.
_IDLE_READERS = 8
#: How long readers are waited for, and new ones held back, when the file has to be opened again.
_ALONE_SECONDS = 2.0

log = structlog.get_logger(__name__)


class ClosedError(Exception):
    """The file has been closed, as happens when the collection is dropped."""


class Connections:
    """Opens a collection's file, with its folder and tables where they are missing.

    `writer` is for one thread at a time, and reads nothing but its tables; readers use the filter index, which starts
    from what is in the file. With `read_only` the file is one that nobody may or will change. Raises `apsw.Error`
    where the file cannot be opened, `FormatError` where a newer version wrote it, `OSError` where the folder cannot
    be made.
    """

    def __init__(self, folder: FilePath, indexing: Indexing, index: FilterIndex, *, read_only: bool = False) -> None:
        self.path = folder / FILE_NAME
        self._indexing = indexing
        self._index = index
        self._read_only = read_only
        self._idle: list[DocumentTables] = []
        self._reading = 0
        self._opening_again = False
        self._closed = False
        self._changed = threading.Condition()
        if not read_only and not self.path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            sync(folder.parent)
        self.file = Writer(self.path, create=True, read_only=read_only, alone=self._alone, reopened=self._use)
        self.file.connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE}")
        self.writer = DocumentTables(self.file.connection, self._indexing)
        if not self.file.connection.readonly("main"):
            create_tables(self.writer.connection)
            sync(folder)
        index.start(self.writer.last_write())

    @contextmanager
    def reading(self) -> Iterator[DocumentTables]:
        """Give a connection of one's own, in a transaction that sees one state.

        Raises `ClosedError`, or `FAILED_READ_REQUEST` when the file cannot be read.
        """
        tables = self._take()
        try:
            with tables.connection:
                yield tables
        except DISK_ERRORS as problem:
            raise self._unreadable(problem, _errno_of(tables.connection)) from problem
        finally:
            self._give_back(tables)

    def close(self) -> None:
        """Close all connections, the one that writes as well."""
        self.file.close()
        self.close_readers()

    def close_readers(self) -> None:
        """Close the readers' connections; those in use once they are given back."""
        with self._changed:
            self._closed = True
            self._close_idle()
            self._changed.notify_all()

    def _take(self) -> DocumentTables:
        with self._changed:
            while self._opening_again:
                self._changed.wait()
            if self._closed:
                raise ClosedError
            self._reading += 1
            if self._idle:
                return self._idle.pop()
        try:
            return self._open()
        except BaseException as problem:
            with self._changed:
                self._reading -= 1
                self._changed.notify_all()
            if isinstance(problem, (*DISK_ERRORS, OSError)):
                raise self._unreadable(problem, 0) from problem
            raise

    def _give_back(self, tables: DocumentTables) -> None:
        with self._changed:
            self._reading -= 1
            kept = not self._closed and not self._opening_again and len(self._idle) < _IDLE_READERS
            if kept:
                self._idle.append(tables)
            else:
                tables.connection.close()
            if self._opening_again:
                self._changed.notify_all()

    def _unreadable(self, problem: Exception, system_errno: int) -> DataApiError:
        error = read_failure(problem, self.path, system_errno)
        log.error("a file cannot be read", file=str(self.path), problem=error.message)
        return error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Have no reader's connection open. Raises `TimeoutError` when readers do not come to an end."""
        with self._changed:
            self._opening_again = True
            self._close_idle()
        try:
            with self._changed:
                if not self._changed.wait_for(lambda: not self._reading, _ALONE_SECONDS):
                    raise TimeoutError
            yield
        finally:
            with self._changed:
                self._opening_again = False
                self._changed.notify_all()

    def _use(self, connection: apsw.Connection) -> None:
        """Have the tables that write use the file as it was opened again."""
        connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE}")
        self.writer.connection = connection
        self.writer.forget_paths()

    def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for tables in idle:
            tables.connection.close()

    def _open(self) -> DocumentTables:
        if self._read_only:
            connection = open_unchanging(self.path)
        else:
            connection = open_database(self.path)
            # Whether the log may be copied to the file is the writer's to know.
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE}")
        return DocumentTables(connection, self._indexing, self._index)


def _errno_of(connection: apsw.Connection) -> int:
    try:
        return connection.system_errno
    except apsw.ConnectionClosedError:
        return 0
