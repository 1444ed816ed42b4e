"""Backing a database up into a folder while it is read and written.

All collections are copied as they were at one moment: writes are held until a read transaction has begun on every
file, and go on while the files are copied. The folder gets its name once it is whole and on disk.
"""

import hashlib
import shutil
import uuid
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import apsw
import msgspec
import structlog

from services.runtime.durability import sync
from services.runtime.errors import DataApiError
from services.store.catalog import CollectionEntry
from services.store.connections import FILE_NAME
from services.store.documents import FORMAT, DocumentTables, create_tables, open_database
from services.store.engine import Engine
from services.store.manifest import BACKUP_FORMAT, MANIFEST, Manifest, SavedCollection, portions
from services.store.migrations import FormatError
from services.store.progress import Progress

#: Pages of 4 KiB that are copied at a time; between, the backup can be given up.
_PAGES = 256

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A collection at the moment of the backup: a connection that sees it so until `reading` ends, and its size."""

    keyspace: str
    entry: CollectionEntry
    connection: apsw.Connection
    reading: ExitStack
    bytes: int

    def __str__(self) -> str:
        return f"{self.keyspace}.{self.entry.name}"


def back_up(engine: Engine, database: str, target: Path) -> Generator[Progress, None, Manifest]:
    """Back a database up into a folder that does not exist yet; return what the backup holds.

    Nothing is left of a backup that fails or is given up.

    Raises `BACKUP_TARGET_INVALID`, `BACKUP_FAILED`, `OPERATION_UNDER_WAY`.
    """
    _check_target(engine, target)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    with engine.operation(), _noted(engine, partial):
        try:
            partial.mkdir(mode=0o700)
            manifest = yield from _write(engine, database, partial)
            _check_target(engine, target)
            partial.rename(target)
            sync(target.parent)
        except (apsw.Error, OSError) as problem:
            raise DataApiError("BACKUP_FAILED", database=database, problem=problem) from problem
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return manifest


@contextmanager
def _noted(engine: Engine, partial: Path) -> Iterator[None]:
    """Have the next start remove a folder if this process is killed meanwhile."""
    try:
        engine.catalog.note_backup(str(partial))
    except (apsw.Error, DataApiError) as problem:
        # A disk that cannot be written any more is when a backup to another one is wanted most.
        log.warning("should the store be killed, a half backup would stay", folder=str(partial), problem=str(problem))
        yield
        return
    try:
        yield
    finally:
        engine.catalog.forget_backup(str(partial))


def _check_target(engine: Engine, target: Path) -> None:
    problem = None
    if not target.is_absolute():
        problem = "the path is not absolute"
    elif target.exists():
        problem = "it exists already"
    elif not target.parent.is_dir():
        problem = f"{target.parent} is not a folder"
    elif target.resolve().is_relative_to(engine.data_dir.resolve()):
        problem = "it lies in the store's own folder"
    if problem is not None:
        raise DataApiError("BACKUP_TARGET_INVALID", folder=target, problem=problem)


def _write(engine: Engine, database: str, folder: Path) -> Generator[Progress, None, Manifest]:
    with ExitStack() as opened:
        created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        keyspaces, snapshots = _snapshots(engine, database, opened)
        # Every byte is copied, and read again for its checksum.
        total = 2 * sum(snapshot.bytes for snapshot in snapshots)
        saved: list[SavedCollection] = []
        done = 0
        for snapshot in snapshots:
            yield Progress(str(snapshot), done, total)
            with _naming(database, str(snapshot)):
                file = folder / f"{snapshot.entry.uid}.db"
                for share in _copy(snapshot.connection, file):
                    yield Progress(str(snapshot), done + int(share * snapshot.bytes), total)
                done += snapshot.bytes
                # As early as can be: the collection's WAL grows as long as this is read.
                snapshot.reading.close()
                described = _finish(snapshot, file)
                digest = hashlib.sha256()
                for portion in portions(file):
                    digest.update(portion)
                    done += len(portion)
                    yield Progress(str(snapshot), min(done, total), total)
                saved.append(msgspec.structs.replace(described, sha256=digest.hexdigest()))
        manifest = Manifest(BACKUP_FORMAT, database, created, keyspaces, saved)
        path = folder / MANIFEST
        path.write_bytes(manifest.encoded())
        sync(path)
        sync(folder)
        return manifest


def _snapshots(engine: Engine, database: str, opened: ExitStack) -> tuple[list[str], list[_Snapshot]]:
    """Return the keyspaces of a database, and its collections as of one moment."""
    snapshots = []
    with engine.standing_still(database) as contents:
        for keyspace, entries in contents.items():
            for entry in entries:
                with _naming(database, f"{keyspace}.{entry.name}"):
                    reading = opened.enter_context(ExitStack())
                    connection = reading.enter_context(_reading(engine, entry.uid))
                    snapshots.append(_Snapshot(keyspace, entry, connection, reading, _size(connection)))
    if not contents:
        known = ", ".join(engine.catalog.databases()) or "none"
        raise DataApiError("BACKUP_FAILED", database=database, problem=f"there is no such database; there are: {known}")
    return list(contents), snapshots


@contextmanager
def _naming(database: str, collection: str) -> Iterator[None]:
    """Name the collection that a backup fails for."""
    try:
        yield
    except (apsw.Error, FormatError, OSError) as problem:
        raise DataApiError("BACKUP_FAILED", database=database, problem=f"{collection}: {problem}") from problem


@contextmanager
def _reading(engine: Engine, uid: str) -> Iterator[apsw.Connection]:
    """Give a connection that goes on seeing a collection as it is now; an empty one where it was never used."""
    collection = engine.opened(uid)
    if collection is not None:
        with collection.snapshot() as connection:
            yield connection
        return
    path = engine.folder(uid) / FILE_NAME
    with closing(open_database(path) if path.exists() else apsw.Connection(":memory:")) as connection:
        connection.execute("BEGIN; SELECT count(*) FROM sqlite_schema").fetchall()
        yield connection


def _size(connection: apsw.Connection) -> int:
    sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    return next(int(size) for (size,) in connection.execute(sql))


def _copy(source: apsw.Connection, file: Path) -> Iterator[float]:
    """Copy what a connection sees into a new file; yield what share is copied."""
    with closing(apsw.Connection(str(file))) as copy:
        # Nobody reads the copy before it is whole, and it is synced then.
        copy.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        with copy.backup("main", source, "main") as copying:
            while not copying.done:
                copying.step(_PAGES)
                yield 1 - copying.remaining / max(1, copying.page_count)


def _finish(snapshot: _Snapshot, file: Path) -> SavedCollection:
    """Have a copy of today's form, sound and on disk; return what it is, without its checksum."""
    with closing(open_database(file)) as copy:
        create_tables(copy)
        found = next(str(problem) for (problem,) in copy.execute("PRAGMA quick_check(1)"))
        if found != "ok":
            raise apsw.CorruptError(found)
        tables = DocumentTables(copy, snapshot.entry.settings.indexing)
        (documents, vectors), sequence = tables.totals(), tables.last_write()
    sync(file)
    return SavedCollection(
        snapshot.keyspace,
        snapshot.entry.name,
        snapshot.entry.uid,
        snapshot.entry.settings,
        snapshot.entry.attributes,
        FORMAT.version,
        sequence,
        documents,
        vectors,
        file.name,
        file.stat().st_size,
        sha256="",
    )
