"""A graph on disk, so that it need not be built again at every start.

Three files beside the documents: what FAISS writes of the graph, the position of each of its vectors, and, written
last and renamed into place, a manifest with the number of the last write that is in it and the checksums of the
other two. What is not whole is not used: the documents are the truth, and the graph can be built from them.
"""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import faiss
import msgspec
import numpy as np

from services.store.vectors.graph import GraphIndex
from services.store.vectors.places import Positions
from services.store.vectors.recall import Effort

_MANIFEST = "vectors.json"
_VERSION = 1
_BLOCK = 4 * 1024 * 1024


class SnapshotError(Exception):
    """A snapshot cannot be used; the message says why."""


class _File(msgspec.Struct, frozen=True):
    name: str
    bytes: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    version: int
    sequence: int
    graph: _File
    positions: _File
    walk: int
    recall: float | None
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
    generation = 1 + max((int(path.name.split(".")[1]) for path in folder.glob("vectors.*.graph")), default=0)
    graph_path = folder / f"vectors.{generation}.graph"
    positions_path = folder / f"vectors.{generation}.positions"
    try:
        faiss.write_index(graph.faiss_index, str(graph_path))
        positions_path.write_bytes(np.ascontiguousarray(positions, "<i8").tobytes())
        manifest = _Manifest(
            _VERSION,
            snapshot.sequence,
            _described(graph_path),
            _described(positions_path),
            snapshot.effort.walk,
            snapshot.effort.recall,
            snapshot.effort.vectors,
            snapshot.effort.target,
        )
        temporary = folder / f"{_MANIFEST}.new"
        temporary.write_bytes(msgspec.json.encode(manifest))
        for path in (graph_path, positions_path, temporary):
            _sync(path)
        temporary.replace(folder / _MANIFEST)
        _sync(folder)
    except RuntimeError as problem:
        # FAISS says so of a file it cannot write.
        raise OSError(f"{graph_path}: {problem}") from problem
    _remove_others(folder, {_MANIFEST, graph_path.name, positions_path.name})


def read_snapshot(folder: Path, graph: GraphIndex) -> tuple[Snapshot, Positions] | None:
    """Fill an empty graph with the snapshot of a folder; return what it says and the positions, None without one.

    Raises `SnapshotError` for one that is damaged or of another kind; the graph is empty then.
    """
    try:
        manifest = _read_manifest(folder)
        if manifest is None:
            return None
        if manifest.version != _VERSION:
            raise SnapshotError(f"{folder / _MANIFEST} has format version {manifest.version}, not {_VERSION}")
        for file in (manifest.graph, manifest.positions):
            if _described(folder / file.name) != file:
                raise SnapshotError(f"{folder / file.name} is not what was written there")
        positions = np.fromfile(folder / manifest.positions.name, "<i8").astype(np.int64)
        graph.restore(faiss.read_index(str(folder / manifest.graph.name)), positions)
    except (OSError, ValueError, RuntimeError, msgspec.DecodeError) as problem:
        raise SnapshotError(f"{folder / _MANIFEST}: {problem}") from problem
    effort = Effort(manifest.walk, manifest.recall, manifest.measured_vectors, manifest.target)
    return Snapshot(manifest.sequence, effort), positions


def remove_snapshot(folder: Path) -> None:
    """Remove the snapshot of a folder, the manifest first. Raises `OSError`."""
    (folder / _MANIFEST).unlink(missing_ok=True)
    _remove_others(folder, set())


def snapshot_bytes(folder: Path) -> int:
    """Return the size of the snapshot's files."""
    return sum(path.stat().st_size for path in folder.glob("vectors.*") if path.is_file())


def _read_manifest(folder: Path) -> _Manifest | None:
    try:
        content = (folder / _MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(content, type=_Manifest)


def _described(path: Path) -> _File:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
        return _File(path.name, file.tell(), digest.hexdigest())


def _remove_others(folder: Path, kept: set[str]) -> None:
    for path in folder.glob("vectors.*"):
        if path.name not in kept:
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
