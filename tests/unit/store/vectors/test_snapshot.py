"""A graph on disk: read back as it was written, or not at all."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from services.store.settings import IndexSettings
from services.store.vectors.graph import GraphIndex
from services.store.vectors.places import ABSENT
from services.store.vectors.recall import Curve, Effort, Step
from services.store.vectors.similarity import Metric, prepare
from services.store.vectors.snapshot import (
    Snapshot,
    SnapshotError,
    read_snapshot,
    remove_snapshot,
    write_snapshot,
)
from tests.unit.store.vectors.collections_of_vectors import clustered

CURVES = (Curve(1.0, (Step(48, 0.98, 700), Step(64, 0.99, 900))), Curve(0.5, (Step(96, 0.99, 1300),)))
SAID = Snapshot(17, Effort(CURVES, 600, 0.97))


def graph(**changes: Any) -> GraphIndex:
    """Return an empty graph."""
    return GraphIndex(16, Metric.COSINE, IndexSettings(**changes))


def filled(**changes: Any) -> GraphIndex:
    """Return a graph of 600 vectors, the first 50 of them removed."""
    index, rows = graph(**changes), prepare(clustered(600, 16), Metric.COSINE)
    index.train(rows)
    index.add(rows, 1)
    index.take(np.arange(1, 601), np.ones(600, np.bool_))
    index.remove(np.arange(1, 51))
    return index


def snapshot_bytes(folder: Path) -> int:
    """Return the size of a snapshot's files."""
    return sum(path.stat().st_size for path in folder.glob("vectors.*"))


def write(folder: Path, index: GraphIndex) -> None:
    write_snapshot(folder, index, index.positions.copy(), SAID)


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_it_is_read_as_it_was_written(tmp_path: Path, storage: str) -> None:
    written, read = filled(storage=storage), graph(storage=storage)
    write(tmp_path, written)

    found = read_snapshot(tmp_path, read)

    assert found is not None
    assert found[0] == SAID
    assert found[1].tolist() == [ABSENT] * 50 + list(range(51, 601))
    assert (len(read), read.slots, read.tombstones) == (550, 600, 50)
    queries = prepare(clustered(620, 16)[600:], Metric.COSINE)
    assert read.search(queries, 10, 64).tolist() == written.search(queries, 10, 64).tolist()


def test_there_may_be_none(tmp_path: Path) -> None:
    assert read_snapshot(tmp_path, graph()) is None


def test_a_newer_one_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    index = filled()
    write(tmp_path, index)
    size = snapshot_bytes(tmp_path)
    index.remove(np.arange(51, 101))
    write(tmp_path, index)

    read = graph()
    read_snapshot(tmp_path, read)

    assert read.tombstones == 100
    assert len(list(tmp_path.iterdir())) == 3
    assert snapshot_bytes(tmp_path) == pytest.approx(size, abs=10)


@pytest.mark.parametrize("name", ["vectors.1.graph", "vectors.1.positions"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "longer"])
def test_a_damaged_one_is_not_used_and_the_error_names_the_file(tmp_path: Path, name: str, damage: str) -> None:
    write(tmp_path, filled())
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "flipped":
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    elif damage == "longer":
        path.write_bytes(path.read_bytes() + bytes(8))
    else:
        path.unlink()
    read = graph()

    with pytest.raises(SnapshotError, match=name.replace(".", r"\.")):
        read_snapshot(tmp_path, read)
    assert read.slots == 0


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 1}', b"\x00" * 400])
def test_a_manifest_that_says_nothing_is_an_error(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, filled())
    (tmp_path / "vectors.json").write_bytes(content)

    with pytest.raises(SnapshotError, match=r"vectors\.json"):
        read_snapshot(tmp_path, graph())


def test_one_of_another_format_is_not_used(tmp_path: Path) -> None:
    write(tmp_path, filled())
    manifest = tmp_path / "vectors.json"
    content = msgspec.json.decode(manifest.read_bytes())
    manifest.write_bytes(msgspec.json.encode({**content, "version": 1}))

    with pytest.raises(SnapshotError, match="format version 1, not 3"):
        read_snapshot(tmp_path, graph())


@pytest.mark.parametrize("changes", [{"storage": "float16"}, {"links": 8}])
def test_one_made_by_other_settings_is_not_used(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path, filled())

    with pytest.raises(SnapshotError, match="it holds 600"):
        read_snapshot(tmp_path, graph(**changes))


def test_what_was_left_by_a_write_that_never_ended_is_removed_by_the_next(tmp_path: Path) -> None:
    write(tmp_path, filled())
    for name in ("vectors.7.graph", "vectors.7.positions", "vectors.json.new"):
        (tmp_path / name).write_bytes(b"half")

    write(tmp_path, filled())

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "vectors.8.graph",
        "vectors.8.positions",
        "vectors.json",
    ]


def test_it_can_be_removed(tmp_path: Path) -> None:
    write(tmp_path, filled())
    remove_snapshot(tmp_path)
    assert not list(tmp_path.iterdir())


def test_one_of_another_collection_is_not_used(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    other.mkdir()
    write(other, filled())
    shutil.copytree(other, mine)

    with pytest.raises(SnapshotError, match="of another collection, 'other'"):
        read_snapshot(mine, graph())


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_one_that_cannot_be_written_leaves_nothing_and_the_older_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    write(tmp_path, filled())
    before = sorted(tmp_path.iterdir())
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            write(tmp_path, filled())
        synced.clear()

    assert sorted(tmp_path.iterdir()) == before
    assert read_snapshot(tmp_path, graph()) is not None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the full device of Linux")
def test_a_full_disk_is_said_in_the_words_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: opened(Path("/dev/full"), mode))

    with pytest.raises(OSError, match="No space left on device"):
        write(tmp_path, filled())


def test_files_named_like_those_of_a_snapshot_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "vectors.old.graph").write_bytes(b"")
    write(tmp_path, filled())
    assert read_snapshot(tmp_path, graph()) is not None


def test_reading_one_can_be_given_up(tmp_path: Path) -> None:
    class GivenUpError(Exception):
        pass

    def give_up() -> None:
        raise GivenUpError

    write(tmp_path, filled())
    read = graph()

    with pytest.raises(GivenUpError):
        read_snapshot(tmp_path, read, give_up)
    assert read.slots == 0
