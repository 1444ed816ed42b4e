"""The engine: one process to a data directory, and collections that come and go while others use them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.runtime.errors import DataApiError
from services.store.changes import Selection
from services.store.engine import DirectoryInUseError, Engine
from services.store.filters import EVERYTHING
from services.store.projection import WHOLE
from services.store.records import CollectionSettings, Record
from tests.unit.store.conftest import Make


def test_a_data_directory_has_one_store(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(DirectoryInUseError, match="in use by another store"):
        Engine(tmp_path / "data")


def test_a_directory_given_free_can_be_used_again(tmp_path: Path) -> None:
    Engine(tmp_path).close()

    Engine(tmp_path).close()


def test_documents_outlive_the_engine(tmp_path: Path) -> None:
    first = Engine(tmp_path)
    first.catalog.create_keyspace("d", "k")
    first.catalog.create_collection("d", "k", "c", CollectionSettings(), b"", None)
    first.collection("d", "k", "c", "").insert([Record(b'{"_id":1}')], ordered=True)
    first.close()

    again = Engine(tmp_path)

    assert again.collection("d", "k", "c", "").count(EVERYTHING, 0) == (1, False)
    again.close()


def test_a_dropped_collection_leaves_nothing_behind(engine: Engine, make: Make, tmp_path: Path) -> None:
    make().insert([Record(b'{"_id":1}')], ordered=True)

    engine.drop_collection("d", "k", "c")

    assert list((tmp_path / "data" / "collections").iterdir()) == []
    with pytest.raises(DataApiError, match="'c'") as unknown:
        engine.collection("d", "k", "c", "")
    assert unknown.value.code == "UNKNOWN_COLLECTION_OR_TABLE"
    engine.drop_collection("d", "k", "c")


def test_whoever_still_holds_a_dropped_collection_is_told(engine: Engine, make: Make, tmp_path: Path) -> None:
    collection = make()
    engine.drop_keyspace("d", "k")

    for use in (
        lambda: collection.insert([Record(b'{"_id":1}')], ordered=True),
        lambda: collection.count(EVERYTHING, 0),
        lambda: collection.find(Selection(), WHOLE, skip=0, limit=1, after=0),
        collection.truncate,
    ):
        with pytest.raises(DataApiError) as refused:
            use()
        assert refused.value.code == "COLLECTION_CHANGED"
    assert list((tmp_path / "data" / "collections").iterdir()) == []


def test_what_is_left_of_a_dropped_collection_goes_at_the_next_start(tmp_path: Path) -> None:
    left = tmp_path / "collections" / "0123"
    left.mkdir(parents=True)
    (left / "documents.db").write_bytes(b"")

    Engine(tmp_path).close()

    assert not left.exists()


def test_a_collection_whose_making_was_cut_short_opens(engine: Engine, tmp_path: Path) -> None:
    entry, _ = engine.catalog.create_collection("d", "k", "c", CollectionSettings(), b"", None)
    folder = tmp_path / "data" / "collections" / entry.uid
    folder.mkdir(parents=True)
    (folder / "documents.db").write_bytes(b"")

    collection = engine.collection("d", "k", "c", entry.uid)
    collection.insert([Record(b'{"_id":1}')], ordered=True)

    assert collection.totals() == (1, 0)


def test_a_collection_that_is_not_a_database_is_reported_and_can_be_dropped(engine: Engine, tmp_path: Path) -> None:
    entry, _ = engine.catalog.create_collection("d", "k", "c", CollectionSettings(), b"", None)
    folder = tmp_path / "data" / "collections" / entry.uid
    folder.mkdir(parents=True)
    (folder / "documents.db").write_bytes(b"garbage" * 1000)

    for _ in range(2):
        with pytest.raises(DataApiError, match="not a database") as refused:
            engine.collection("d", "k", "c", entry.uid)
        assert refused.value.code == "CORRUPTED_COLLECTION_SCHEMA"
    engine.drop_collection("d", "k", "c")
    assert not folder.exists()


def test_all_who_open_a_collection_at_once_get_the_same(engine: Engine) -> None:
    engine.catalog.create_collection("d", "k", "c", CollectionSettings(), b"", None)
    together = threading.Barrier(8)

    def open_it(_: int) -> int:
        together.wait(10)
        return id(engine.collection("d", "k", "c", ""))

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(open_it, range(8)))) == 1


def test_dropping_while_others_open_and_write_leaves_nothing_behind(engine: Engine, tmp_path: Path) -> None:
    refused = {"UNKNOWN_COLLECTION_OR_TABLE", "COLLECTION_CHANGED"}
    codes: set[str] = set()

    def use(_: int) -> None:
        try:
            engine.collection("d", "k", "c", "").insert([Record(b'{"_id":1}')], ordered=False)
        except DataApiError as error:
            codes.add(error.code)

    with ThreadPoolExecutor(4) as threads:
        for _ in range(30):
            engine.catalog.create_collection("d", "k", "c", CollectionSettings(), b"", None)
            uses = [threads.submit(use, number) for number in range(4)]
            engine.drop_collection("d", "k", "c")
            for done in uses:
                done.result(10)

    assert codes <= refused
    assert list((tmp_path / "data" / "collections").glob("*")) == []
