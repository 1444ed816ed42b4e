"""Collections that the store opens after its start: which, how many, and never in the way of anybody."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from services.runtime.errors import DataApiError
from services.store.engine import Engine
from services.store.filters import EVERYTHING
from services.store.records import CollectionSettings, Record, StoredVector, VectorSettings
from services.store.settings import IndexSettings, Settings, WarmingSettings
from services.store.vectors.similarity import Metric

VECTORS = CollectionSettings(vector=VectorSettings(8, Metric.EUCLIDEAN))
#: A graph for a few vectors already, written to disk when the engine is closed.
SMALL = IndexSettings(exact_below=50, tail=20, snapshot_after=10)


def settings(collections: int = 16, **memory: float) -> Settings:
    return Settings(index=SMALL, warming=WarmingSettings(collections=collections, **memory))


def use(engine: Engine, name: str) -> None:
    """Ask for a collection, and let the clock of the file system go on."""
    engine.collection("d", "k", name, "").count(EVERYTHING, 0)
    time.sleep(0.01)


def folder_of(engine: Engine, name: str) -> Path:
    return engine.folder(engine.catalog.collection("d", "k", name).uid)


def warmed(engine: Engine) -> set[str]:
    """Have collections opened that nobody asks for, and return which are open then."""
    engine.warm()
    engine._warming.join()
    return {name for name in "abc" if engine.opened(engine.catalog.collection("d", "k", name).uid) is not None}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with the collections `a`, `b` and `c`, used last in the order b, c, a."""
    engine = Engine(tmp_path, settings())
    engine.catalog.create_keyspace("d", "k")
    for name in "abc":
        engine.catalog.create_collection("d", "k", name, VECTORS, b"", None)
        random = np.random.default_rng(1)
        vectors = random.standard_normal((80, 8)).astype("<f4")
        records = [Record(b'{"_id":%d}' % n, StoredVector(vector.tobytes())) for n, vector in enumerate(vectors)]
        engine.collection("d", "k", name, "").insert(records, ordered=True)
    for name in "bca":
        use(engine, name)
    engine.close()
    return tmp_path


def test_those_used_last_are_opened(data: Path) -> None:
    engine = Engine(data, settings(collections=2))

    assert warmed(engine) == {"a", "c"}
    engine.close()


def test_being_opened_so_is_no_use(data: Path) -> None:
    """What nobody asks for makes room for what somebody does."""
    engine = Engine(data, settings(collections=2))
    assert warmed(engine) == {"a", "c"}
    use(engine, "b")
    use(engine, "c")
    engine.close()

    again = Engine(data, settings(collections=2))

    assert warmed(again) == {"b", "c"}
    again.close()


def test_what_was_used_counts_after_a_crash_too(data: Path) -> None:
    engine = Engine(data, settings())
    before = folder_of(engine, "b").stat().st_mtime

    engine.collection("d", "k", "b", "")

    assert folder_of(engine, "b").stat().st_mtime > before
    engine.close()


@pytest.mark.parametrize("warming", [WarmingSettings(collections=0), WarmingSettings(memory_share=0)])
def test_it_can_be_switched_off_and_leaves_memory_to_requests(data: Path, warming: WarmingSettings) -> None:
    engine = Engine(data, Settings(index=SMALL, warming=warming))

    assert warmed(engine) == set()
    engine.close()


def test_one_that_cannot_be_opened_is_logged_and_passed_over(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = Engine(data, settings())
    (folder_of(engine, "a") / "documents.db").write_bytes(b"garbage" * 1000)

    assert warmed(engine) == {"b", "c"}
    said = capsys.readouterr()
    assert "a collection cannot be opened" in said.out + said.err
    assert "k.a" in said.out + said.err
    engine.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
class TestWhileOneIsBeingOpened:
    """The manifest of its graph is a pipe, which is read once the test has written something there."""

    def test_a_request_waits_for_it_and_others_are_not_held_up(self, data: Path) -> None:
        engine = Engine(data, settings(collections=1))
        manifest = piped(folder_of(engine, "a") / "vectors.json")
        engine.warm()
        wait_for(lambda: bool(engine._open))

        with ThreadPoolExecutor(2) as threads:
            asked = [threads.submit(engine.collection, "d", "k", "a", "") for _ in range(2)]
            use(engine, "b")
            assert not any(each.done() for each in asked)
            manifest()
            first, second = (each.result(20) for each in asked)

        assert first is second
        assert first.totals() == (80, 80)
        engine.close()

    def test_a_stop_gives_it_up(self, data: Path) -> None:
        engine = Engine(data, settings())
        manifest = piped(folder_of(engine, "a") / "vectors.json")
        engine.warm()
        wait_for(lambda: bool(engine._open))
        (opening,) = engine._open.values()

        closing = threading.Thread(target=engine.close)
        closing.start()
        wait_for(engine._closing.is_set)
        manifest()
        closing.join(20)

        assert not closing.is_alive()
        given_up = opening.exception()
        assert isinstance(given_up, DataApiError)
        assert given_up.code == "UNAVAILABLE_DATABASE"
        Engine(data).close()


def piped(path: Path) -> Callable[[], None]:
    """Make a file one that is read only when what is returned is called."""
    content = path.read_bytes()
    path.unlink()
    os.mkfifo(path)

    def let_go() -> None:
        path.write_bytes(content)

    return let_go
