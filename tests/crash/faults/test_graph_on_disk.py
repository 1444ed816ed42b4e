"""The graph on disk is damaged, or cannot be written: the store says so, answers from the documents, builds it anew."""

import errno
import json
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.faults.disk import OTHER, FaultyDisk
from tests.crash.model import Model, TidalWriter, Writer, running
from tests.crash.process import StoreProcess
from tests.crash.test_graph_kill import DIMENSION, SMALL_GRAPHS

Damage = Callable[[Path, Path], None]


def flip(path: Path) -> None:
    """Change a bit of a file."""
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Leave the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: random.randrange(len(content))])


def file(folder: Path, kind: str) -> Path:
    """Return the snapshot's file with the graph or the positions."""
    name = json.loads((folder / "vectors.json").read_bytes())[kind]["name"]
    return folder / str(name)


def taken_from(other: Path, folder: Path) -> None:
    """Put another collection's snapshot in the place of a folder's own."""
    for path in folder.glob("vectors.*"):
        path.unlink()
    for path in other.glob("vectors.*"):
        shutil.copy(path, folder)


#: What is done to the folder of a collection, beside that of another one.
DAMAGES: dict[str, Damage] = {
    "graph flipped": lambda folder, _: flip(file(folder, "graph")),
    "positions flipped": lambda folder, _: flip(file(folder, "positions")),
    "graph cut": lambda folder, _: cut(file(folder, "graph")),
    "positions cut": lambda folder, _: cut(file(folder, "positions")),
    "manifest cut": lambda folder, _: cut(folder / "vectors.json"),
    "graph missing": lambda folder, _: file(folder, "graph").unlink(),
    "positions missing": lambda folder, _: file(folder, "positions").unlink(),
    "another collection's manifest": lambda folder, other: shutil.copy(other / "vectors.json", folder) and None,
    "another collection's snapshot": lambda folder, other: taken_from(other, folder),
}


def filled(store: StoreProcess, name: str) -> tuple[Model, Path]:
    """Return a collection with a graph on disk, and its folder."""
    before = set(store.data.glob("collections/*"))
    model = Model(name, DIMENSION, exact=False)
    model.create(store.rpc)
    Writer(store.rpc, model, 1, threading.Event())._insert(dict.fromkeys(range(300), 0))
    (folder,) = set(store.data.glob("collections/*")) - before
    until((folder / "vectors.json").exists, "no graph was written to disk")
    return model, folder


def until(holds: Callable[[], bool], otherwise: str, seconds: float = 20) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, otherwise
        time.sleep(0.01)


@pytest.mark.timeout(180)
def test_a_damaged_graph_is_told_and_built_anew(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path, SMALL_GRAPHS)
    model, folder = filled(store, "c")
    _, other = filled(store, "other")
    for damage in DAMAGES.values():
        store.kill()
        damage(folder, other)
        logged = store.log.stat().st_size
        store.start()
        model.check_vectors(store.rpc, model.check(store.rpc))
        said = store.log.read_bytes()[logged:].decode()
        (line,) = [json.loads(line) for line in said.splitlines() if "cannot be used" in line]
        assert (line["level"], line["collection"]) == ("error", "k.c")
        until((folder / "vectors.json").exists, "no graph was built anew")
    assert store.stop() == 0


@pytest.mark.timeout(180)
def test_a_graph_that_cannot_be_written_is_told_and_leaves_the_disk_as_it_was(
    store: StoreProcess, disk: FaultyDisk
) -> None:
    store.kill()
    store.environment.update(SMALL_GRAPHS)
    store.start()
    model, folder = filled(store, "c")
    faults: dict[str, Callable[[], None]] = {
        "No space left": lambda: disk.full(random.choice([0, 10_000, 60_000]), OTHER),
        "Input/output": lambda: disk.fail(OTHER, sync_errno=errno.EIO),
        "Input/output error": lambda: disk.fail(OTHER, write_errno=errno.EIO, write_bytes=5_000),
    }
    for number, (says, breaks) in enumerate(faults.items(), start=2):
        logged = store.log.stat().st_size
        stop = threading.Event()
        with running(*(TidalWriter(store.rpc, model, 10 * number + writer, stop, 100) for writer in range(3))):
            model.wait_for_writes(20)
            breaks()
            disk.wait_until_failed()
            time.sleep(0.5)
        said = store.log.read_bytes()[logged:].decode()
        assert "the graph could not be written to disk" in said
        assert says in said
        assert len(list(folder.glob("vectors.*"))) <= 3 + 2
        model.check_vectors(store.rpc, model.check(store.rpc))
        store.kill()
        disk.heal()
        store.start()
        model.check_vectors(store.rpc, model.check(store.rpc))
