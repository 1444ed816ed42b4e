"""Exporting: the pages of a collection into checksummed parts, which appear all at once or not at all."""

import datetime
import gzip
import hashlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from services.transfer.data_api import DataApi
from services.transfer.errors import RefusedError, UsageError
from services.transfer.manifest import FILE, FORMAT, VERSION, Manifest, Part, beside, write_manifest
from services.transfer.progress import Meter
from services.transfer.row_set import RowSet
from services.transfer.vector_form import ExportedDocument

#: A part ends here even with fewer documents: long vectors would make files that nothing opens comfortably.
_PART_BYTES = 256 * 1024 * 1024
_GZIP_LEVEL = 6


class _Page(msgspec.Struct, rename="camel"):
    documents: list[msgspec.Raw] = []
    next_page_state: str | None = None


async def definition_of(api: DataApi, collection: str) -> dict[str, Any]:
    """Return what the endpoint tells of a collection. Raises `RefusedError` when it is not there."""
    options = await api.options_of(collection)
    if options is None:
        raise RefusedError(
            "UNKNOWN_COLLECTION_OR_TABLE",
            f"{api.endpoint.host} has no collection {collection!r} in the keyspace {api.endpoint.keyspace!r}",
        )
    return {"name": collection, "options": options}


async def export(
    api: DataApi,
    collection: str,
    definition: dict[str, Any],
    output: Path,
    meter: Meter,
    *,
    overwrite: bool = False,
    part_documents: int,
) -> Manifest:
    """Write a collection to a folder, or to one file where the name ends in `.jsonl` or `.jsonl.gz`.

    Everything is written under another name first, so what has the output's name is whole.

    Raises `UsageError` when the output is there already, `TransferError` when the endpoint cannot be read.
    """
    single = output.name.endswith((".jsonl", ".jsonl.gz"))
    work = _begin(output, overwrite=overwrite)
    try:
        parts = _Parts(work, output.name if single else None, part_documents)
        async for documents in _pages(api, collection):
            for document in documents:
                parts.add(ExportedDocument(document))
            meter.advance(len(documents), len(documents))
        parts.end()
        manifest = Manifest(
            FORMAT,
            VERSION,
            datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            api.endpoint.host,
            api.endpoint.keyspace,
            collection,
            definition,
            sum(part.documents for part in parts.written),
            parts.vectors,
            parts.texts,
            parts.written,
        )
        name = beside(output).name if single else FILE
        write_manifest(work / name, manifest)
        _publish(work, output, name if single else None)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def _begin(output: Path, *, overwrite: bool) -> Path:
    """Return an empty folder to work in, beside the output."""
    if output.exists() and not overwrite:
        raise UsageError(f"{output} is there already: give another name, or --overwrite")
    if output.is_dir() and not (output / FILE).is_file():
        raise UsageError(f"{output} is no export, so --overwrite does not take its place: give another name")
    work = output.with_name(f".{output.name}.partial")
    # What a run that was killed has left behind.
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    return work


async def _pages(api: DataApi, collection: str) -> AsyncIterator[list[msgspec.Raw]]:
    state: str | None = None
    while True:
        options = {"pageState": state} if state else {}
        answer = await api.run("find", {"projection": {"*": 1}, "options": options}, collection)
        page = msgspec.json.decode(answer.data, type=_Page)
        yield page.documents
        state = page.next_page_state
        if not state:
            return


def _publish(work: Path, output: Path, manifest: str | None) -> None:
    if manifest is None:
        if output.is_dir():
            old = output.with_name(f".{output.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            output.replace(old)
            work.replace(output)
            shutil.rmtree(old)
        else:
            work.replace(output)
        return
    # The manifest last: without it a file is no export.
    (output.with_name(manifest)).unlink(missing_ok=True)
    (work / output.name).replace(output)
    (work / manifest).replace(output.with_name(manifest))


@dataclass
class _Part:
    """A part being written."""

    path: Path
    file: IO[bytes]
    stream: IO[bytes]
    documents: int = 0
    bytes: int = 0
    shown_as_binary: RowSet = field(default_factory=RowSet)


class _Parts:
    """The parts of an export: one of a given name, or as many as it takes."""

    def __init__(self, folder: Path, single: str | None, part_documents: int) -> None:
        self._folder = folder
        self._single = single
        self._part_documents = part_documents
        self._open: _Part | None = None
        self.written: list[Part] = []
        self.vectors = self.texts = 0

    def add(self, document: ExportedDocument) -> None:
        part = self._open or self._begin()
        part.stream.write(document.line + b"\n")
        part.documents += 1
        part.bytes += len(document.line) + 1
        if document.shown_as_binary:
            part.shown_as_binary.add(part.documents, part.documents)
        self.vectors += document.has_vector
        self.texts += document.has_text
        if self._single is None and (part.documents >= self._part_documents or part.bytes >= _PART_BYTES):
            self.end()

    def end(self) -> None:
        """End the part that is being written. An empty collection has one part, which is empty."""
        part = self._open
        if part is None:
            if self.written:
                return
            part = self._begin()
        if part.stream is not part.file:
            part.stream.close()
        part.file.close()
        self._open = None
        with part.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.written.append(
            Part(part.path.name, part.documents, part.path.stat().st_size, digest, part.shown_as_binary.ranges())
        )

    def _begin(self) -> _Part:
        path = self._folder / (self._single or f"documents-{len(self.written) + 1:05}.jsonl.gz")
        file = path.open("wb")
        stream: IO[bytes] = file
        if path.name.endswith(".gz"):
            # No time and no name in the header: the same documents give the same bytes.
            stream = cast("IO[bytes]", gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0))
        self._open = _Part(path, file, stream)
        return self._open
