"""Giving back what deleted documents took: free pages of a collection's file, its WAL, and memory of its vectors."""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from services.store.collection import Collection
from services.store.connections import FILE_NAME
from services.store.progress import Progress

#: Pages that are given back while writes wait: some milliseconds.
_PAGES = 500
#: Rows that SQLite looks at in each index to learn how selective it is.
_ANALYSIS_ROWS = 400
#: How long one attempt to empty the WAL may hold writes, and how often it is tried.
_CHECKPOINT_MILLISECONDS, _CHECKPOINTS = 200, 10
_INCREMENTAL = 2


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did, in bytes of the file and its WAL."""

    before: int
    after: int


def compact(collection: Collection, folder: Path) -> Generator[Progress, None, Compacted]:
    """Compact a collection; reads go on, and writes wait for some milliseconds at a time.

    A file made before free pages could be given back singly is written anew, once, for which writes wait.

    Raises `FAILED_WRITE_REQUEST` where the disk does not take it, `COLLECTION_CHANGED` when the collection is dropped.
    """
    path = folder / FILE_NAME
    before = disk_bytes(path)
    yield from _give_pages_back(collection)
    yield Progress("vectors", 0, 0)
    collection.compact_index()
    yield Progress("statistics", 0, 0)
    with _writer(collection) as writer:
        writer.execute(f"PRAGMA analysis_limit = {_ANALYSIS_ROWS}; PRAGMA optimize = 0x10002").fetchall()
    _empty_wal(collection)
    return Compacted(before, disk_bytes(path))


def disk_bytes(path: Path) -> int:
    """Return the size of a database file with its WAL."""
    return sum(file.stat().st_size for file in (path, path.with_name(path.name + "-wal")) if file.exists())


def _give_pages_back(collection: Collection) -> Generator[Progress, None, None]:
    with _writer(collection) as writer:
        size, total = _value(writer, "page_size"), _value(writer, "freelist_count")
        if _value(writer, "auto_vacuum") != _INCREMENTAL:
            writer.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}; VACUUM").fetchall()
            total = 0
    left = total
    while left:
        yield Progress("pages", max(0, total - left) * size, total * size)
        with _writer(collection) as writer:
            start = time.monotonic()
            with writer:
                writer.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
            left = _value(writer, "freelist_count")
        # As long as it took, so that writes that wait come in between.
        time.sleep(time.monotonic() - start)


def _empty_wal(collection: Collection) -> None:
    """Have the WAL in the file and cut it, unless somebody reads from it all the time."""
    for _ in range(_CHECKPOINTS):
        with collection.writes_held() as file:
            if file.empty_log(_CHECKPOINT_MILLISECONDS):
                return


@contextmanager
def _writer(collection: Collection) -> Iterator[apsw.Connection]:
    """Hold all writes and give the connection that writes. Raises `FAILED_WRITE_REQUEST` where the disk fails."""
    with collection.writes_held() as file:
        file.check()
        try:
            yield file.connection
        except apsw.Error as problem:
            raise file.failed(problem, committing=False) from problem


def _value(connection: apsw.Connection, pragma: str) -> int:
    return next(int(value) for (value,) in connection.execute(f"PRAGMA {pragma}"))
