"""Figures about collections, for whoever operates the store."""

import enum
from contextlib import closing
from dataclasses import dataclass

import apsw

from services.runtime.errors import DataApiError
from services.store.catalog import CollectionEntry
from services.store.connections import FILE_NAME
from services.store.documents import FORMAT
from services.store.engine import Engine
from services.store.migrations import FormatError, format_version
from services.store.vectors.statistics import IndexStatistics


class State(enum.Enum):
    """Whether a collection can be used."""

    OPEN = "open"
    READ_ONLY = "read-only"
    NOT_OPENED = "not opened"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class CollectionStatistics:
    """Figures about one collection.

    `problem` says why it is damaged or takes no writes. None is what is not known: the vectors of a collection that is
    not open, and figures of a file that cannot be read. `other_bytes` is what else lies in its folder, such as
    snapshots of the vector index. `free_bytes` of the file are left by deleted documents.
    """

    keyspace: str
    name: str
    uid: str
    state: State
    problem: str
    documents: int | None
    vectors: int | None
    sequence: int | None
    index: IndexStatistics | None
    filter_cache_bytes: int
    file_bytes: int
    wal_bytes: int
    other_bytes: int
    free_bytes: int


@dataclass(slots=True)
class _File:
    """What is read from a collection's file, or why it cannot be."""

    problem: str = ""
    documents: int | None = None
    sequence: int | None = None
    free_bytes: int = 0


def inspect(engine: Engine, keyspace: str, entry: CollectionEntry) -> CollectionStatistics:
    """Return figures about a collection without opening it: its vectors are not read into memory for it."""
    collection = engine.opened(entry.uid)
    read = _read(engine, entry.uid)
    problem = read.problem or ("" if collection is not None else engine.problem(entry.uid) or "")
    documents, vectors = read.documents, 0 if entry.settings.vector is None else None
    if collection is not None:
        documents, vectors = collection.totals()
    refusal = "" if collection is None else collection.write_refusal()
    state = State.NOT_OPENED if collection is None else State.READ_ONLY if refusal else State.OPEN
    sizes = engine.file_sizes(entry.uid)
    return CollectionStatistics(
        keyspace,
        entry.name,
        entry.uid,
        State.DAMAGED if problem else state,
        problem or refusal,
        documents,
        vectors,
        read.sequence,
        None if collection is None else collection.index_statistics(),
        0 if collection is None else collection.filter_cache_bytes(),
        sizes["file_bytes"],
        sizes["wal_bytes"],
        sizes["other_bytes"],
        read.free_bytes,
    )


def _read(engine: Engine, uid: str) -> _File:
    path = engine.folder(uid) / FILE_NAME
    if not path.exists():
        # Created and never used.
        return _File(documents=0, sequence=0)
    collection = engine.opened(uid)
    try:
        if collection is not None:
            with collection.snapshot() as connection:
                return _figures(connection)
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            # Copying the log to the file is for whoever opens it to write.
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            return _figures(connection, count=True)
    except (apsw.Error, DataApiError, FormatError) as problem:
        return _File(str(problem))


def _figures(connection: apsw.Connection, *, count: bool = False) -> _File:
    version = format_version(connection)
    FORMAT.check(version, "its file")
    if version == 0:
        return _File(documents=0, sequence=0)
    free = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size"
    return _File(
        documents=_value(connection, "SELECT count(*) FROM documents") if count else None,
        sequence=_value(connection, "SELECT sequence FROM writes"),
        free_bytes=_value(connection, free),
    )


def _value(connection: apsw.Connection, sql: str) -> int:
    return next(int(value) for (value,) in connection.execute(sql))
