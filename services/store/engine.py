"""All collections of a data directory: what the servicer asks of storage."""

import fcntl
import os
import shutil
import threading
from pathlib import Path as FilePath

import structlog

from services.runtime.errors import ConfigurationError
from services.store.catalog import Catalog
from services.store.collection import Collection

_COLLECTIONS = "collections"

log = structlog.get_logger(__name__)


class DirectoryInUseError(ConfigurationError):
    """Another process has the data directory open; the message says so."""


class Engine:
    """The catalogue and the open collections of one data directory, which no other process may use meanwhile."""

    def __init__(self, data_dir: FilePath) -> None:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._data_dir = data_dir
        self._lock_file = _lock(data_dir)
        self.catalog = Catalog(data_dir / "catalog.db")
        self._open: dict[str, Collection] = {}
        self._opening = threading.Lock()
        self._remove_leftovers()

    def collection(self, database: str, keyspace: str, name: str, uid: str) -> Collection:
        """Return a collection, opened. Raises what `Catalog.collection` raises."""
        entry = self.catalog.collection(database, keyspace, name, uid)
        with self._opening:
            collection = self._open.get(entry.uid)
            if collection is None:
                collection = Collection(self._folder(entry.uid), keyspace, entry)
                self._open[entry.uid] = collection
        return collection

    def drop_collection(self, database: str, keyspace: str, name: str) -> None:
        """Drop a collection with all its documents; a missing one is no error. Raises `UNKNOWN_KEYSPACE`."""
        uid = self.catalog.drop_collection(database, keyspace, name)
        if uid is not None:
            self._remove(uid)

    def drop_keyspace(self, database: str, keyspace: str) -> None:
        """Drop a keyspace with all its collections; a missing one is no error."""
        for uid in self.catalog.drop_keyspace(database, keyspace):
            self._remove(uid)

    def close(self) -> None:
        """Close every file and give the data directory free."""
        with self._opening:
            for collection in self._open.values():
                collection.close()
            self._open.clear()
        self.catalog.close()
        os.close(self._lock_file)

    def _remove(self, uid: str) -> None:
        with self._opening:
            collection = self._open.pop(uid, None)
        if collection is not None:
            collection.remove()
        else:
            shutil.rmtree(self._folder(uid), ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Remove folders of collections that were dropped just before the process ended."""
        known = self.catalog.uids()
        home = self._data_dir / _COLLECTIONS
        for folder in home.iterdir() if home.exists() else ():
            if folder.name not in known:
                log.info("removing what is left of a dropped collection", uid=folder.name)
                shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, uid: str) -> FilePath:
        return self._data_dir / _COLLECTIONS / uid


def _lock(data_dir: FilePath) -> int:
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DirectoryInUseError(
            f"{data_dir} is in use by another store; stop that one, or give another data directory"
        ) from None
    return descriptor
