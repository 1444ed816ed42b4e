"""The manifest of a backup: what the backup holds, and how to tell that it is as it was written."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from services.runtime.errors import DataApiError
from services.store.documents import FORMAT as COLLECTION_FORMAT
from services.store.records import CollectionSettings

MANIFEST = "manifest.json"
#: The form of a backup: its manifest and the names of its files. Forms of collections' files have their own numbers.
BACKUP_FORMAT = 1
_READ_BYTES = 1 << 20


class SavedCollection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A collection of a backup.

    `format` is the form of its file, `sequence` the number of its last write. `documents` and `vectors` count the
    documents and those with a vector. `file` is a name in the backup's folder.
    """

    keyspace: str
    name: str
    uid: str
    settings: CollectionSettings
    attributes: bytes
    format: int
    sequence: int
    documents: int
    vectors: int
    file: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup holds. `created` is in UTC; `sha256` is that of its file with an empty `sha256`."""

    format: int
    database: str
    created: str
    keyspaces: list[str]
    collections: list[SavedCollection]
    sha256: str = ""

    @property
    def size(self) -> int:
        """Size of all its files but the manifest."""
        return sum(collection.bytes for collection in self.collections)

    def encoded(self) -> bytes:
        """Return its file's content."""
        blank = msgspec.structs.replace(self, sha256="")
        content = msgspec.json.format(msgspec.json.encode(blank), indent=2) + b"\n"
        head, _, tail = content.rpartition(b'""')
        return head + b'"' + hashlib.sha256(content).hexdigest().encode() + b'"' + tail


class _Format(msgspec.Struct):
    format: int


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a backup that this version can restore. Raises `BACKUP_INVALID`."""
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise invalid(folder, f"{path} cannot be read ({problem.strerror})") from None
    try:
        version = msgspec.json.decode(content, type=_Format).format
        if version > BACKUP_FORMAT:
            raise _newer(folder, MANIFEST, version, BACKUP_FORMAT)
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise invalid(folder, f"{MANIFEST} is damaged ({problem})") from None
    if hashlib.sha256(content.replace(manifest.sha256.encode(), b"")).hexdigest() != manifest.sha256:
        raise invalid(folder, f"{MANIFEST} is damaged (it is not as it was written)")
    for collection in manifest.collections:
        if collection.format > COLLECTION_FORMAT.version:
            raise _newer(folder, collection.file, collection.format, COLLECTION_FORMAT.version)
        if Path(collection.file).name != collection.file or collection.keyspace not in manifest.keyspaces:
            raise invalid(folder, f"{MANIFEST} contradicts itself about {collection.file}")
    return manifest


def portions(path: Path) -> Iterator[bytes]:
    """Yield a file's content, a megabyte at a time. Raises `OSError`."""
    with path.open("rb") as file:
        while portion := file.read(_READ_BYTES):
            yield portion


def invalid(folder: Path, problem: str) -> DataApiError:
    """Return the error for a backup that cannot be restored."""
    return DataApiError("BACKUP_INVALID", folder=folder, problem=problem)


def _newer(folder: Path, file: str, version: int, known: int) -> DataApiError:
    return invalid(
        folder,
        f"{file} has format version {version}, written by a newer Orrery; this one knows up to {known}. Restore it "
        "with the newer one",
    )
