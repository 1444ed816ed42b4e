"""Collections that are opened before anybody asks for them: after a start, those that were used last."""

import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from services.runtime.errors import DataApiError
from services.store.memory import MemoryBudget
from services.store.settings import WarmingSettings

log = structlog.get_logger(__name__)


class Named(NamedTuple):
    """Where a collection is found in the catalogue."""

    database: str
    keyspace: str
    name: str
    uid: str


class Uses:
    """When collections were used, kept on disk as the modification time of each one's folder.

    That is set at the first use after a start and, to the time of the last one, by `keep`: no request but the first
    writes anything, and after a crash those that were used before it still come first.
    """

    def __init__(self, home: Path, *, read_only: bool) -> None:
        self._home = home
        self._read_only = read_only
        self._last: dict[str, float] = {}

    def note(self, uid: str) -> None:
        """Note that a collection is used now."""
        first = uid not in self._last
        self._last[uid] = time.time()
        if first:
            self.keep(uid)

    def keep(self, uid: str) -> None:
        """Have the time of the last use on disk, if there was any; where that fails, the order suffers and no more."""
        used = self._last.get(uid)
        if used is None or self._read_only:
            return
        try:
            os.utime(self._home / uid, (used, used))
        except OSError as problem:
            log.debug("the time of use was not kept", uid=uid, problem=str(problem))

    def forget(self, uid: str) -> None:
        """Forget a collection that is no more."""
        self._last.pop(uid, None)

    def latest_first(self, collections: Iterable[Named]) -> list[Named]:
        """Return those of some collections that have a folder, by when they were used."""
        times: dict[Named, float] = {}
        for collection in collections:
            try:
                times[collection] = (self._home / collection.uid).stat().st_mtime
            except OSError:  # it was never opened, or is being dropped
                continue
        return sorted(times, key=lambda collection: -times[collection])


class Opener(Protocol):
    """What opens collections."""

    budget: MemoryBudget

    def open(self, collection: Named) -> None:
        """Open a collection unless it is open. Raises `DataApiError`."""

    def file_sizes(self, uid: str) -> Mapping[str, int]:
        """Return the sizes of a collection's files, in bytes."""


class Warming:
    """Opens collections one after the other in a thread.

    As many as settings allow, and no longer than half of the time: after each it rests for as long as that took. What
    would not leave the rest of the memory to requests is passed over, and so is what cannot be opened.
    """

    def __init__(self, opener: Opener, settings: WarmingSettings) -> None:
        self._opener = opener
        self._most = settings.collections
        self._bytes = settings.memory_share * opener.budget.limit
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, collections: list[Named]) -> None:
        """Begin with the first of some collections."""
        if self._most and collections:
            self._thread = threading.Thread(target=self._run, args=(collections,), name="warming", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Begin with no other collection."""
        self._stopped.set()

    def join(self) -> None:
        """Wait until the collection that is being opened is, or is given up."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, collections: list[Named]) -> None:
        opened, taken, working = 0, 0.0, 0.0
        for collection in collections:
            # A stop ends the rest.
            if opened == self._most or self._stopped.wait(taken):
                break
            start = time.monotonic()
            if self._fits(collection):
                opened += self._open(collection)
            taken = time.monotonic() - start
            working += taken
        log.info("collections opened", collections=opened, milliseconds=round(working * 1000, 1))

    def _fits(self, collection: Named) -> bool:
        # Its vectors, which are what is kept in memory, are in its file; while they are read it may be twice as much.
        size, budget = self._opener.file_sizes(collection.uid)["file_bytes"], self._opener.budget
        return budget.used() + size <= self._bytes and budget.would_fit(2 * size)

    def _open(self, collection: Named) -> bool:
        try:
            self._opener.open(collection)
        except DataApiError as problem:
            if not self._stopped.is_set():
                log.warning(
                    "a collection cannot be opened",
                    database=collection.database,
                    collection=f"{collection.keyspace}.{collection.name}",
                    problem=problem.message,
                )
            return False
        except Exception:
            # One that fails in a way nobody thought of is not to keep the others from being opened.
            log.exception("opening a collection failed", collection=f"{collection.keyspace}.{collection.name}")
            return False
        return True
