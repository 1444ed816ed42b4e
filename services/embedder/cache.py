"""Vectors that are remembered: in memory, least recently used first out, and in a file where one is configured."""

import hashlib
import json
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import apsw
import numpy as np
import structlog

from services.embedder.providers.wire import EmbeddingModel, Float32
from services.embedder.settings import CacheSettings
from services.runtime.errors import ConfigurationError

log = structlog.get_logger(__name__)

_KEY_BYTES = 20
#: What an entry takes in memory besides its vector: key, array, and their places in the dictionary. Measured.
_ENTRY_BYTES = 300
#: Vectors are written so many at a time, and when so many seconds have passed.
_WRITE_ENTRIES, _WRITE_SECONDS = 256, 1.0
#: How much of the file goes when it is full.
_TRIMMED = 0.1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    key BLOB PRIMARY KEY, vector BLOB NOT NULL, tokens INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_use ON vectors (used);
"""
_TRIM = "DELETE FROM vectors WHERE key IN (SELECT key FROM vectors ORDER BY used LIMIT ?)"


@dataclass(frozen=True, slots=True)
class Remembered:
    """A vector, float32[d], and the tokens that were counted for it."""

    vector: Float32
    tokens: int


def cache_scope(model: EmbeddingModel, database: str, *, shared: bool) -> bytes:
    """Return what all keys of a model and a database begin with: a digest of everything that changes a vector.

    With `shared` databases have their vectors in common.
    """
    parameters = sorted((name, value) for name, value in model.parameters.items() if name in model.sent_parameters)
    told_apart = model.purpose if model.distinguishes_purposes else ""
    parts = [model.provider.id, model.provider.url, model.model.name, model.dimension, parameters, told_apart]
    if not shared:
        parts.append(database)
    return hashlib.blake2b(json.dumps(parts, ensure_ascii=False).encode(), digest_size=_KEY_BYTES).digest()


def cache_key(scope: bytes, text: str) -> bytes:
    """Return the key of a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES, key=scope).digest()


class VectorCache:
    """Vectors by key. Safe to use from many threads.

    `recorded` tells that only what the file has is to be answered. Raises `ConfigurationError` for a file that cannot
    be used.
    """

    def __init__(self, settings: CacheSettings) -> None:
        self._settings = settings
        self.recorded = settings.mode == "recorded"
        self._memory: OrderedDict[bytes, Remembered] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._unwritten: dict[bytes, Remembered] = {}
        self._used: set[bytes] = set()
        self._written_at = time.monotonic()
        if self.recorded and settings.file is None:
            raise ConfigurationError("the cache mode `recorded` answers from a file: set ORRERY_EMBEDDER_CACHE_FILE")
        self._file = None if settings.mode == "off" or settings.file is None else _open(Path(settings.file), settings)

    @property
    def enabled(self) -> bool:
        """Whether anything is remembered."""
        return self._settings.mode != "off" and (self._settings.bytes > 0 or self._file is not None)

    @property
    def shared(self) -> bool:
        """Whether databases have their vectors in common."""
        return self._settings.shared

    @property
    def memory(self) -> int:
        """Memory in use, about."""
        return self._bytes

    def get(self, key: bytes) -> Remembered | None:
        """Return what is remembered under a key."""
        with self._lock:
            found = self._memory.get(key)
            if found is not None:
                self._memory.move_to_end(key)
                return found
            if self._file is None:
                return None
            found = self._unwritten.get(key) or self._read(key)
            if found is not None:
                self._keep(key, found)
            return found

    def put(self, key: bytes, vector: Float32, tokens: int) -> None:
        """Remember a vector."""
        entry = Remembered(vector.copy(), tokens)
        entry.vector.flags.writeable = False
        with self._lock:
            self._keep(key, entry)
            if self._file is None or self.recorded:
                return
            self._unwritten[key] = entry
            due = time.monotonic() - self._written_at > _WRITE_SECONDS
            if len(self._unwritten) >= _WRITE_ENTRIES or due:
                self._write()

    def close(self) -> None:
        """Write what is not written yet and close the file."""
        with self._lock:
            if self._file is not None:
                if not self.recorded:
                    self._write()
                self._file.close()
                self._file = None

    def _read(self, key: bytes) -> Remembered | None:
        assert self._file is not None
        try:
            row = self._file.execute("SELECT vector, tokens FROM vectors WHERE key = ?", (key,)).fetchone()
        except apsw.Error as problem:
            log.error("cache file not read", problem=str(problem))
            return None
        if row is None:
            return None
        self._used.add(key)
        return Remembered(np.frombuffer(bytes(row[0]), "<f4"), int(row[1]))

    def _keep(self, key: bytes, entry: Remembered) -> None:
        size = _ENTRY_BYTES + entry.vector.nbytes
        if size > self._settings.bytes:
            return
        old = self._memory.pop(key, None)
        if old is not None:
            self._bytes -= _ENTRY_BYTES + old.vector.nbytes
        self._memory[key] = entry
        self._bytes += size
        while self._bytes > self._settings.bytes:
            _, gone = self._memory.popitem(last=False)
            self._bytes -= _ENTRY_BYTES + gone.vector.nbytes

    def _write(self) -> None:
        assert self._file is not None
        now = int(time.time())
        rows = [(key, item.vector.astype("<f4").tobytes(), item.tokens, now) for key, item in self._unwritten.items()]
        try:
            with self._file:
                self._file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", rows)
                used = [(now, key) for key in self._used]
                self._file.executemany("UPDATE vectors SET used = ? WHERE key = ?", used)
                self._trim()
        except apsw.Error as problem:
            # A full disk costs what was to be remembered, never a call.
            log.error("cache file not written", vectors=len(rows), problem=str(problem))
        self._unwritten.clear()
        self._used.clear()
        self._written_at = time.monotonic()

    def _trim(self) -> None:
        assert self._file is not None
        pages, size, free = (int(self._file.pragma(name)) for name in ("page_count", "page_size", "freelist_count"))
        if (pages - free) * size > self._settings.file_bytes:
            (count,) = self._file.execute("SELECT count(*) FROM vectors").fetchone() or (0,)
            self._file.execute(_TRIM, (max(1, int(count * _TRIMMED)),))


def _open(path: Path, settings: CacheSettings) -> apsw.Connection:
    recorded = settings.mode == "recorded"
    flags = apsw.SQLITE_OPEN_READONLY if recorded else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    try:
        connection = apsw.Connection(str(path), flags=flags)
        if not recorded:
            path.chmod(0o600)
            # What is lost by a crash is asked again: no need to wait for the disk.
            connection.execute("PRAGMA journal_mode = wal; PRAGMA synchronous = off")
            connection.execute(_SCHEMA)
        connection.execute("SELECT count(*) FROM vectors LIMIT 1")
    except (apsw.Error, OSError) as problem:
        raise ConfigurationError(
            f"the file of ORRERY_EMBEDDER_CACHE_FILE, {path}, cannot be used: {problem}. "
            "It is made by an embedder that runs with the cache mode `on`; one that is damaged can be deleted"
        ) from None
    return connection
