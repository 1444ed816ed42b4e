"""A graph on disk, so that it need not be built again at every start.

Three files beside the documents: what FAISS writes of the graph, the position of each of its vectors, and, written
last and renamed into place, a manifest with the collection's unique name, which is the folder's, the number of the
last write that is in it and the checksums of the other two. What is not whole is not used: the documents are the
truth, and the graph can be built from them.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import faiss as typed_faiss
import msgspec
import numpy as np

from services.runtime.durability import sync
from services.store.vectors.graph import GraphIndex
from services.store.vectors.places import Positions
from services.store.vectors.recall import Curve, Effort

#: FAISS brings types for a part of what it has only.
faiss: Any = typed_faiss
_MANIFEST = "vectors.json"
_VERSION = 3
_BLOCK = 4 * 1024 * 1024


class SnapshotError(Exception):
    """A snapshot cannot be used; the message says why."""


class _File(msgspec.Struct, frozen=True):
    name: str
    bytes: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    version: int
    collection: str
    sequence: int
    graph: _File
    positions: _File
    curves: tuple[Curve, ...]
    measured_vectors: int
    target: float


class Snapshot(NamedTuple):
    """What a snapshot says beside the graph: the last write that is in it, and the effort of searches."""

    sequence: int
    effort: Effort


def write_snapshot(folder: Path, graph: GraphIndex, positions: Positions, snapshot: Snapshot) -> None:
    """Write a graph, with the position int64[slots] of each of its vectors. Raises `OSError`.

    The snapshot that is there stays whole until this one is.
    """
    generation = 1 + max(map(_generation, folder.glob("vectors.*.graph")), default=0)
    graph_path = folder / f"vectors.{generation}.graph"
    positions_path = folder / f"vectors.{generation}.positions"
    temporary = folder / f"{_MANIFEST}.new"
    try:
        with _Output(graph_path) as output:
            output.write_graph(graph)
        graph_file = output.described()
        with _Output(positions_path) as output:
            output.write(np.ascontiguousarray(positions, "<i8").tobytes())
        manifest = _Manifest(
            _VERSION,
            folder.name,
            snapshot.sequence,
            graph_file,
            output.described(),
            snapshot.effort.curves,
            snapshot.effort.vectors,
            snapshot.effort.target,
        )
        with _Output(temporary) as output:
            output.write(msgspec.json.encode(manifest))
        temporary.replace(folder / _MANIFEST)
    except OSError:
        # On a full disk each further try would leave as much again.
        for path in (graph_path, positions_path, temporary):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        raise
    sync(folder)
    _remove_others(folder, {_MANIFEST, graph_path.name, positions_path.name})


def read_snapshot(
    folder: Path, graph: GraphIndex, check: Callable[[], None] = lambda: None
) -> tuple[Snapshot, Positions] | None:
    """Fill an empty graph with the snapshot of a folder; return what it says and the positions, None without one.

    Raises `SnapshotError` for one that is damaged or of another kind, and what `check` raises, which is called between
    blocks; the graph is empty then.
    """
    try:
        manifest = _read_manifest(folder)
        if manifest is None:
            return None
        if manifest.version != _VERSION:
            raise SnapshotError(f"{folder / _MANIFEST} has format version {manifest.version}, not {_VERSION}")
        if manifest.collection != folder.name:
            raise SnapshotError(f"{folder / _MANIFEST} is of another collection, {manifest.collection!r}")
        for file in (manifest.graph, manifest.positions):
            if _described(folder / file.name, check) != file:
                raise SnapshotError(f"{folder / file.name} is not what was written there")
        positions = np.fromfile(folder / manifest.positions.name, "<i8").astype(np.int64)
        graph.restore(faiss.read_index(str(folder / manifest.graph.name)), positions)
    except (OSError, ValueError, RuntimeError, msgspec.DecodeError) as problem:
        raise SnapshotError(f"{folder / _MANIFEST}: {problem}") from problem
    effort = Effort(manifest.curves, manifest.measured_vectors, manifest.target)
    return Snapshot(manifest.sequence, effort), positions


def remove_snapshot(folder: Path) -> None:
    """Remove the snapshot of a folder, the manifest first. Raises `OSError`."""
    (folder / _MANIFEST).unlink(missing_ok=True)
    _remove_others(folder, set())


def _read_manifest(folder: Path) -> _Manifest | None:
    try:
        content = (folder / _MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(content, type=_Manifest)


class _Output:
    """A file that is written and synced, and described by what was given to it, not by what the disk made of that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._size = 0
        self._problem: OSError | None = None

    def __enter__(self) -> "_Output":
        self._file: BinaryIO = self._path.open("wb")
        return self

    def __exit__(self, kind: object, problem: object, trace: object) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def write(self, content: bytes) -> None:
        """Write some more. Raises `OSError`."""
        self._file.write(content)
        self._digest.update(content)
        self._size += len(content)

    def write_graph(self, graph: GraphIndex) -> None:
        """Write what FAISS makes of a graph. Raises `OSError`."""
        # FAISS's own writer says nothing when the last bytes do not get to the disk.
        try:
            faiss.write_index(graph.faiss_index, faiss.PyCallbackIOWriter(self._write_for_faiss, _BLOCK))
        except RuntimeError as problem:
            raise (self._problem or OSError(f"{self._path}: {problem}")) from problem

    def _write_for_faiss(self, content: bytes) -> None:
        try:
            self.write(content)
        except OSError as problem:
            # FAISS raises an error of its own in its place.
            self._problem = problem
            raise

    def described(self) -> _File:
        """Return what the file has to be when it is read."""
        return _File(self._path.name, self._size, self._digest.hexdigest())


def _generation(path: Path) -> int:
    number = path.name.split(".")[1]
    return int(number) if number.isdecimal() else 0


def _described(path: Path, check: Callable[[], None]) -> _File:
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            check()
            digest.update(block[:count])
        return _File(path.name, file.tell(), digest.hexdigest())


def _remove_others(folder: Path, kept: set[str]) -> None:
    for path in folder.glob("vectors.*"):
        if path.name not in kept:
            path.unlink(missing_ok=True)
