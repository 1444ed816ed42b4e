"""All collections of a data directory: what the servicer asks of storage."""

import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path as FilePath

import structlog

from services.runtime.errors import ConfigurationError, DataApiError
from services.store.catalog import Catalog, CollectionEntry
from services.store.collection import Collection
from services.store.connections import FILE_NAME
from services.store.memory import MemoryBudget
from services.store.metrics import CollectionMetrics, StoreMetrics
from services.store.settings import Settings
from services.store.vectors.background import Background
from services.store.warming import Named, Uses, Warming

_COLLECTIONS = "collections"
#: Which of a collection's sizes a file counts for; the others are `other_bytes`, shared memory is on no disk.
_SIZES = {FILE_NAME: "file_bytes", FILE_NAME + "-wal": "wal_bytes", FILE_NAME + "-shm": None}
#: How long a backup or restore that was told to end may take for it when the engine is closed.
_OPERATION_SECONDS = 30.0

log = structlog.get_logger(__name__)


class DirectoryInUseError(ConfigurationError):
    """Another process has the data directory open; the message says so."""


class Engine:
    """The catalogue and the open collections of one data directory, which no other process may use meanwhile.

    A directory that can only be read is served for reading.
    """

    def __init__(self, data_dir: FilePath, settings: Settings = Settings()) -> None:  # noqa: B008 - it is frozen
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.data_dir = data_dir
        self.settings = settings
        self._background = Background()
        self.budget = MemoryBudget.of(settings.memory)
        self.metrics = StoreMetrics()
        self._lock_file, self._read_only = _lock(data_dir)
        if self._read_only:
            log.warning("the data directory can only be read: writes will be refused", data_dir=str(data_dir))
        self.catalog = Catalog(data_dir / "catalog.db", read_only=self._read_only)
        self._open: dict[str, Future[Collection]] = {}
        self._problems: dict[str, str] = {}
        self._lock = threading.Lock()
        self._operation = threading.Lock()
        self._closing = threading.Event()
        self._uses = Uses(data_dir / _COLLECTIONS, read_only=self._read_only)
        self._warming = Warming(self, settings.warming)
        self.metrics.registry.register(CollectionMetrics(self, settings.metrics.collections))
        self._remove_leftovers()

    def collection(self, database: str, keyspace: str, name: str, uid: str) -> Collection:
        """Return a collection, opened. Raises what `Catalog.collection` raises, `CORRUPTED_COLLECTION_SCHEMA`."""
        entry = self.catalog.collection(database, keyspace, name, uid)
        opening = self._open.get(entry.uid)
        found = self._opened(database, keyspace, entry) if opening is None else opening.result()
        self._uses.note(entry.uid)
        return found

    def open(self, collection: Named) -> None:
        """Open a collection before it is used. Raises what `collection` raises."""
        entry = self.catalog.collection(collection.database, collection.keyspace, collection.name, collection.uid)
        if entry.uid not in self._open:
            self._opened(collection.database, collection.keyspace, entry)

    def warm(self) -> None:
        """Begin to open the collections that were used last, in the background, as many as settings say."""
        self._warming.start(
            self._uses.latest_first(
                Named(database, keyspace, entry.name, entry.uid)
                for database in self.catalog.databases()
                for keyspace, entries in self.catalog.contents(database).items()
                for entry in entries
            )
        )

    def _opened(self, database: str, keyspace: str, entry: CollectionEntry) -> Collection:
        """Open a collection, or wait for whoever is opening it."""
        with self._lock:
            # Asked again: whoever drops it takes it out of the catalogue first, and then, by this lock, out of here.
            entry = self.catalog.collection(database, keyspace, entry.name, entry.uid)
            opening = self._open.get(entry.uid)
            if mine := opening is None:
                opening = self._open[entry.uid] = Future()
        assert opening is not None
        if mine:
            try:
                opening.set_result(
                    Collection(
                        self.folder(entry.uid),
                        keyspace,
                        entry,
                        self.settings,
                        self._background,
                        read_only=self._read_only,
                        budget=self.budget,
                        metrics=self.metrics,
                        check=self._check_open,
                    )
                )
                self._problems.pop(entry.uid, None)
            except Exception as problem:  # noqa: BLE001 - answered to all who wait, this caller included
                with self._lock:
                    self._open.pop(entry.uid, None)
                    self._problems[entry.uid] = str(problem)
                opening.set_exception(problem)
        return opening.result()

    def _check_open(self) -> None:
        """Raise `UNAVAILABLE_DATABASE` once the engine is being closed."""
        if self._closing.is_set():
            advice = "Nothing was done; send the request again."
            raise DataApiError("UNAVAILABLE_DATABASE", problem="it is being stopped", advice=advice)

    def drop_collection(self, database: str, keyspace: str, name: str) -> None:
        """Drop a collection with all its documents; a missing one is no error. Raises `UNKNOWN_KEYSPACE`."""
        uid = self.catalog.drop_collection(database, keyspace, name)
        if uid is not None:
            self._remove(uid)

    def drop_keyspace(self, database: str, keyspace: str) -> None:
        """Drop a keyspace with all its collections; a missing one is no error."""
        self.discard(self.catalog.drop_keyspace(database, keyspace))

    def discard(self, uids: Sequence[str]) -> None:
        """Close and remove collections that are no longer in the catalogue."""
        for uid in uids:
            self._remove(uid)

    # --- operations ---

    def folder(self, uid: str) -> FilePath:
        """Return the folder that holds, or will hold, a collection's file."""
        return self.data_dir / _COLLECTIONS / uid

    def file_sizes(self, uid: str) -> Mapping[str, int]:
        """Return the sizes of a collection's file, its write-ahead log and what else is in its folder, in bytes."""
        sizes = {"file_bytes": 0, "wal_bytes": 0, "other_bytes": 0}
        for path in self.folder(uid).rglob("*"):
            name = _SIZES.get(path.name, "other_bytes")
            if name is None:
                continue
            try:
                sizes[name] += path.stat().st_size
            except FileNotFoundError:  # a WAL goes when its last reader does
                continue
        return sizes

    def opened(self, uid: str) -> Collection | None:
        """Return a collection if it is open."""
        opening = self._open.get(uid)
        return opening.result() if opening is not None and opening.done() and not opening.exception() else None

    def problem(self, uid: str) -> str | None:
        """Return why a collection could not be opened when that was last tried; None where it could."""
        return self._problems.get(uid)

    @contextmanager
    def operation(self) -> Iterator[None]:
        """Do a backup or a restore, one at a time. Raises `OPERATION_UNDER_WAY` while another is done."""
        if not self._operation.acquire(blocking=False):
            raise DataApiError("OPERATION_UNDER_WAY")
        try:
            yield
        finally:
            self._operation.release()

    @contextmanager
    def standing_still(self, database: str) -> Iterator[dict[str, list[CollectionEntry]]]:
        """Hold all writes of a database, and give its collections by keyspace as they are at that moment.

        A write that was answered before is in the collections' files, one that comes is made afterwards.
        """
        with ExitStack() as held:
            held.enter_context(self._nothing_opening())
            entries = [entry for entries in self.catalog.contents(database).values() for entry in entries]
            for entry in entries:
                collection = self.opened(entry.uid)
                if collection is not None:
                    held.enter_context(collection.writes_held())
            # Asked again: what was created meanwhile is empty, because nothing can be opened.
            yield self.catalog.contents(database)

    @contextmanager
    def _nothing_opening(self) -> Iterator[None]:
        """Let no collection be opened or closed; those that are being opened are waited for."""
        while True:
            with self._lock:
                opening = [opening for opening in self._open.values() if not opening.done()]
                if not opening:
                    yield
                    return
            wait(opening)

    def close(self) -> None:
        """Close every file and give the data directory free, after the backup or restore under way.

        A collection that is being opened is given up.
        """
        self._warming.stop()
        self._operation.acquire(timeout=_OPERATION_SECONDS)
        self._closing.set()
        self._warming.join()
        with self._lock:
            openings, self._open = self._open, {}
        for uid, opening in openings.items():
            if opening.exception() is None:
                opening.result().close()
                self._uses.keep(uid)
        self._background.close()
        self.catalog.close()
        os.close(self._lock_file)

    def _remove(self, uid: str) -> None:
        with self._lock:
            opening = self._open.pop(uid, None)
            self._problems.pop(uid, None)
        self._uses.forget(uid)
        if opening is not None and opening.exception() is None:
            opening.result().remove()
        else:
            shutil.rmtree(self.folder(uid), ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Remove what was left when the process ended: collections being dropped or restored, and half backups."""
        if self._read_only:
            return
        known = self.catalog.uids()
        home = self.data_dir / _COLLECTIONS
        for folder in home.iterdir() if home.exists() else ():
            if folder.name not in known:
                log.info("removing what is left of a collection", uid=folder.name)
                shutil.rmtree(folder, ignore_errors=True)
        for name in self.catalog.noted_backups():
            log.info("removing what is left of a backup", folder=name)
            shutil.rmtree(name, ignore_errors=True)
            self.catalog.forget_backup(name)


def _lock(data_dir: FilePath) -> tuple[int, bool]:
    """Lock the directory for this process; return the lock's descriptor, and whether it can only be read."""
    path = data_dir / "lock"
    read_only = False
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as problem:
        if problem.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise ConfigurationError(f"{path} cannot be opened: {problem.strerror}") from problem
        read_only = True
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            raise ConfigurationError(
                f"{data_dir} cannot be written ({problem.strerror}) and holds no data to read; make it writable"
            ) from problem
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DirectoryInUseError(
            f"{data_dir} is in use by another store; stop that one, or give another data directory"
        ) from None
    return descriptor, read_only
