"""The connections to one collection's file: one that writes, and as many as there are readers at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath

import apsw

from services.documents.indexing import Indexing
from services.runtime.errors import DataApiError
from services.store.documents import DocumentTables, create_tables, open_database
from services.store.durability import sync
from services.store.filter_index import FilterIndex

#: The file in a collection's folder.
FILE_NAME = "documents.db"
#: Pages that a connection keeps in memory, in KiB.
_WRITER_CACHE, _READER_CACHE = 16_000, 2_000
#: Reading connections that are kept open while nobody reads.
_IDLE_READERS = 8


class ClosedError(Exception):
    """The file has been closed, as happens when the collection is dropped."""


class Connections:
    """Opens a collection's file, with its folder and tables where they are missing.

    `writer` is for one thread at a time, and reads nothing but its tables; readers use the filter index, which starts
    from what is in the file. Raises `apsw.Error` where the file cannot be opened, `FormatError`
    where a newer version wrote it, `OSError` where the folder cannot be made.
    """

    def __init__(self, folder: FilePath, indexing: Indexing, index: FilterIndex) -> None:
        self._path = folder / FILE_NAME
        self._indexing = indexing
        self._index = index
        self._idle: list[DocumentTables] = []
        self._closed = False
        self._lock = threading.Lock()
        if not self._path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            sync(folder.parent)
        self.writer = DocumentTables(self._open(_WRITER_CACHE, create=True), indexing)
        create_tables(self.writer.connection)
        index.start(self.writer.last_write())
        sync(folder)

    @contextmanager
    def reading(self) -> Iterator[DocumentTables]:
        """Give a connection of one's own, in a transaction that sees one state.

        Raises `ClosedError`, or `UNAVAILABLE_DATABASE` when the file cannot be read.
        """
        tables = self._take()
        try:
            with tables.connection:
                yield tables
        except (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.CantOpenError) as problem:
            raise DataApiError("UNAVAILABLE_DATABASE", problem=problem) from problem
        finally:
            self._give_back(tables)

    def close_readers(self) -> None:
        """Close the readers' connections; those in use once they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for tables in idle:
            tables.connection.close()

    def _take(self) -> DocumentTables:
        with self._lock:
            if self._closed:
                raise ClosedError
            if self._idle:
                return self._idle.pop()
        return DocumentTables(self._open(_READER_CACHE), self._indexing, self._index)

    def _give_back(self, tables: DocumentTables) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _IDLE_READERS:
                self._idle.append(tables)
                return
        tables.connection.close()

    def _open(self, cache_kib: int, *, create: bool = False) -> apsw.Connection:
        connection = open_database(self._path, create=create)
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        return connection
