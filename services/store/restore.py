"""Restoring a database from a backup while others are served.

Everything is checked first. The collections are copied beside the present ones, under new uids that the catalogue
does not have yet; one transaction of the catalogue then puts them in place. So a kill leaves the old state or the new
one, and what it leaves besides is removed at the next start.
"""

import hashlib
import shutil
import uuid
from collections.abc import Generator
from pathlib import Path

import apsw

from services.runtime.durability import sync
from services.runtime.errors import DataApiError
from services.store.access import check_database_name
from services.store.audit import THE_STORE
from services.store.catalog import CollectionEntry
from services.store.connections import FILE_NAME
from services.store.engine import Engine
from services.store.manifest import Manifest, SavedCollection, invalid, portions, read_manifest
from services.store.progress import Progress


def restore(
    engine: Engine, source: Path, database: str = "", *, replace: bool = False, who: str = THE_STORE
) -> Generator[Progress, None, Manifest]:
    """Restore a backup into a database, by default the one it is of; return what the backup holds.

    With `replace`, collections of the backup take the place of those of the same names; without, they are refused.
    Other collections of the database stay as they are. Nothing is changed by a restore that fails or is given up.
    `who` asked for it, for the audit log, which has it before it is in force.

    Raises `BACKUP_INVALID`, `DATABASE_NAME_INVALID` (of a database that is not there), `RESTORE_TARGET_EXISTS`,
    `RESTORE_FAILED`, `OPERATION_UNDER_WAY`.
    """
    if not source.is_absolute():
        raise invalid(source, "the path is not absolute")
    with engine.operation():
        manifest = read_manifest(source)
        database = database or manifest.database
        if database not in engine.catalog.databases():
            check_database_name(database)
        staged = [_Staged(engine, source, collection) for collection in manifest.collections]
        contents: dict[str, list[CollectionEntry]] = {keyspace: [] for keyspace in manifest.keyspaces}
        for item in staged:
            contents[item.saved.keyspace].append(item.entry)
        if not replace and (existing := engine.catalog.existing(database, contents)):
            raise DataApiError("RESTORE_TARGET_EXISTS", database=database, collections=", ".join(existing))
        # Every byte is read to be checked, and again to be copied.
        total, done = 2 * manifest.size, 0
        for item in staged:
            for size in item.check():
                done += size
                yield Progress(f"checking {item.saved.file}", done, total)
        try:
            for item in staged:
                for size in item.copy():
                    done += size
                    yield Progress(f"{item.saved.keyspace}.{item.saved.name}", done, total)
            if staged:
                sync(engine.folder(staged[0].entry.uid).parent)
            replaced = engine.catalog.restore(database, contents, replace=replace, source=str(source), who=who)
        except (apsw.Error, OSError) as problem:
            raise DataApiError("RESTORE_FAILED", folder=source, problem=problem) from problem
        finally:
            # Asked of the catalogue, because an error while it commits does not tell whether it did.
            known = engine.catalog.uids()
            for item in staged:
                if item.entry.uid not in known:
                    shutil.rmtree(engine.folder(item.entry.uid), ignore_errors=True)
        engine.discard(replaced)
    return manifest


class _Staged:
    """A collection of a backup on its way into the store, with the entry that it will have there."""

    def __init__(self, engine: Engine, source: Path, saved: SavedCollection) -> None:
        self.saved = saved
        self.entry = CollectionEntry(saved.name, uuid.uuid4().hex, saved.settings, saved.attributes)
        self._folder = engine.folder(self.entry.uid)
        self._source = source

    def check(self) -> Generator[int, None, None]:
        """Read the file and compare it with the manifest; yields bytes read. Raises `BACKUP_INVALID`."""
        path = self._source / self.saved.file
        try:
            size = path.stat().st_size
            if size != self.saved.bytes:
                raise invalid(self._source, f"{path.name} is damaged ({size} bytes instead of {self.saved.bytes})")
            digest = hashlib.sha256()
            for portion in portions(path):
                digest.update(portion)
                yield len(portion)
        except FileNotFoundError:
            raise invalid(self._source, f"{path.name} is missing") from None
        except OSError as problem:
            raise invalid(self._source, f"{path.name} cannot be read ({problem.strerror})") from problem
        self._compare(digest.hexdigest())

    def copy(self) -> Generator[int, None, None]:
        """Copy the file into its place, on disk afterwards; yields bytes copied."""
        self._folder.mkdir(parents=True)
        digest = hashlib.sha256()
        with (self._folder / FILE_NAME).open("xb") as file:
            for portion in portions(self._source / self.saved.file):
                digest.update(portion)
                file.write(portion)
                yield len(portion)
        # Once more: what was checked may have been changed meanwhile.
        self._compare(digest.hexdigest())
        sync(self._folder / FILE_NAME)
        sync(self._folder)

    def _compare(self, sha256: str) -> None:
        if sha256 != self.saved.sha256:
            raise invalid(self._source, f"{self.saved.file} is damaged (it is not as it was written)")
