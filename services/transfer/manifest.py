"""The manifest of an export: what the collection was, and what each part has to hold."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from services.transfer.errors import UsageError

FORMAT = "orrery-export"
VERSION = 1
FILE = "manifest.json"


class Part(msgspec.Struct, frozen=True):
    """A file of documents, one a line.

    Vectors are written as `$binary` whatever the collection shows. `shown_as_binary` has the lines, counted from 1, in
    inclusive ranges, of documents that the collection itself shows so.
    """

    file: str
    documents: int
    bytes: int
    sha256: str
    shown_as_binary: list[tuple[int, int]] = []


class Manifest(msgspec.Struct, frozen=True):
    """An export. `definition` is what findCollections tells of the collection: where its vectors come from."""

    format: str
    version: int
    created: str
    endpoint: str
    keyspace: str
    collection: str
    definition: dict[str, Any]
    documents: int
    vectors: int
    texts: int
    parts: list[Part]


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest for people and programs to read."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def beside(file: Path) -> Path:
    """Return where the manifest of an export of one file is."""
    return file.with_name(f"{file.name}.{FILE}")


def read_manifest(export: Path) -> tuple[Manifest, Path]:
    """Return the manifest of an export, by its folder or file, and the folder that its parts are in.

    Raises `UsageError` when there is none, or none that this version can read.
    """
    path = export / FILE if export.is_dir() else beside(export)
    if not path.is_file():
        raise UsageError(f"{export} is no export: there is no {path}")
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.DecodeError as problem:
        raise UsageError(f"{path} is no manifest of an export: {problem}") from None
    if manifest.format != FORMAT or manifest.version > VERSION:
        raise UsageError(
            f"{path} is of format {manifest.format!r}, version {manifest.version}; this Orrery reads {FORMAT!r} up to "
            f"version {VERSION}"
        )
    return manifest, path.parent


def check_parts(manifest: Manifest, folder: Path) -> None:
    """Compare every part with its checksum. Raises `UsageError`, naming the first that differs."""
    for part in manifest.parts:
        path = folder / part.file
        if Path(part.file).name != part.file or not path.is_file():
            raise UsageError(
                f"the manifest names the part {part.file!r}, which is not in {folder}: nothing was written"
            )
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != part.sha256:
            raise UsageError(
                f"{path} is not what was exported: its SHA-256 is {found}, the manifest says {part.sha256}. Nothing "
                "was written; copy the export again"
            )
