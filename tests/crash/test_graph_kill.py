"""The store is killed while graphs are built, measured, written to disk, built anew and given up.

What was acknowledged is there, nothing is half applied, and searches by vector find the documents and nothing else.
`ORRERY_CRASH_ROUNDS=300` has so many rounds for each storage.
"""

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.model import Model, Reader, TidalWriter, running
from tests.crash.process import StoreProcess

ROUNDS = int(os.environ.get("ORRERY_CRASH_ROUNDS", "2"))
WRITERS = 4
#: Documents of a writer at most: in some rounds so few that the graph is given up, and built in another.
MOST = (4, 120)
DIMENSION = 48
#: Graphs of a few dozen vectors, changed a little at a time and written to disk at almost every change.
SMALL_GRAPHS = {
    "ORRERY_STORE_INDEX_EXACT_BELOW": "50",
    "ORRERY_STORE_INDEX_TAIL": "20",
    "ORRERY_STORE_INDEX_SNAPSHOT_AFTER": "10",
}
#: When to kill: at a random moment, at a file of a snapshot that is being written, or at a line of the log.
MOMENTS = ["vectors.*.graph", "", "building a graph", "", "vectors.json.new", "", "building the graph anew", ""]


def unfinished(folder: Path) -> set[str]:
    """Return the snapshot's files that its manifest does not name: those of one that is being written, or removed."""
    names = {path.name for path in folder.glob("vectors.*")} - {"vectors.json"}
    try:
        manifest = json.loads((folder / "vectors.json").read_bytes())
    except FileNotFoundError:
        return names
    return names - {manifest["graph"]["name"], manifest["positions"]["name"]}


def wait_for(moment: str, store: StoreProcess, seconds: float) -> None:
    """Wait for a file or a line of the log that was not there; for no longer than some seconds."""
    folder = next((store.data / "collections").iterdir())
    seen, end = set(folder.glob(moment)) if "vectors" in moment else set(), time.monotonic() + seconds
    with store.log.open() as log:
        log.seek(0, os.SEEK_END)
        while time.monotonic() < end:
            if "vectors" in moment and set(folder.glob(moment)) - seen:
                return
            if moment and moment in log.read():
                break
            time.sleep(0.0005)
    # Where exactly in what it began is left to chance.
    time.sleep(random.choice([0, 0.001, 0.005]))


def hit(store: StoreProcess, logged: int) -> list[str]:
    """Return what the store was doing when it was killed, as its files and the end of its log show."""
    lines = [json.loads(line)["event"] for line in store.log.read_bytes()[logged:].decode().splitlines()]
    steps = [line for line in lines if "graph" in line or line == "recall measured"]
    folder = next((store.data / "collections").iterdir())
    doing = ["snapshot"] if unfinished(folder) else []
    if steps and steps[-1] in ("building a graph", "building the graph anew"):
        doing.append(steps[-1])
    return doing


@pytest.mark.timeout(60 + 20 * ROUNDS)
@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_graph_and_documents_agree_after_kill_9(tmp_path: Path, storage: str) -> None:
    store = StoreProcess(tmp_path, {**SMALL_GRAPHS, "ORRERY_STORE_INDEX_STORAGE": storage})
    model = Model(dimension=DIMENSION, exact=False)
    model.create(store.rpc)
    figures: Counter[str] = Counter()
    next_ids: dict[int, int] = {}
    for number in range(ROUNDS):
        stop = threading.Event()
        logged = store.log.stat().st_size
        most = random.choice(MOST)
        writers = [
            TidalWriter(store.rpc, model, seed, stop, most, next_ids.get(seed)) for seed in range(1, WRITERS + 1)
        ]
        with running(*writers, Reader(store.rpc, model, number, stop)):
            waited = random.randint(20, 200) if most == max(MOST) else 400
            model.wait_for_writes(waited)
            figures["writes"] += waited
            wait_for(MOMENTS[number % len(MOMENTS)], store, random.uniform(0.1, 0.8))
            store.kill()
        next_ids = {writer.first_id // 1_000_000: writer.next_id for writer in writers}
        while model.acknowledged.acquire(blocking=False):
            figures["writes"] += 1
        figures.update(hit(store, logged))
        store.start()
        found = model.check(store.rpc)
        figures["documents checked"] += len(found)
        figures["walks that missed"] += model.check_vectors(store.rpc, found)
    assert store.stop() == 0
    assert "cannot be used" not in store.log.read_text()
    assert "Traceback" not in store.log.read_text()
    sys.stdout.write(f"{storage}: {ROUNDS} rounds, {dict(figures)}\n")
