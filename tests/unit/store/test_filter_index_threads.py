"""The filter index under writers and readers at once: every reader finds one state, whatever it is answered from."""

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from services.documents.codec import encode
from services.store.changes import Replacement, Selection
from services.store.collection import Collection
from services.store.documents import DocumentTables
from services.store.engine import Engine
from services.store.filters import AllOf, Filter, In, Not
from services.store.ordering import SortField
from services.store.records import CollectionSettings, Record
from tests.unit.store.committed import bitmaps_always
from tests.unit.store.conftest import Make

DOCUMENTS = 300
LEFT, RIGHT = In(("side",), ("left",)), In(("side",), ("right",))


def document(number: int, side: str) -> Record:
    return Record(encode({"_id": number, "side": side, "both": {"side": side}}))


def in_threads(*works: Callable[[], None]) -> None:
    """Run works at the same time; raise what one of them raised."""
    problems: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as problem:  # noqa: BLE001 - raised below
            problems.append(problem)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


@pytest.mark.parametrize("budget", [1 << 20, 3000], ids=["roomy", "tiny"])
def test_readers_find_one_state_while_documents_change_sides(make: Make, budget: int) -> None:
    collection = make()
    collection._filter_index._budget = budget
    collection.insert([document(number, "left") for number in range(DOCUMENTS)], ordered=True)
    writing = threading.Event()
    writing.set()
    compared = 0

    def write(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(150):
                number, side = chance.randrange(DOCUMENTS), chance.choice(("left", "right"))
                if chance.random() < 0.2:
                    selection = Selection(In(("_id",), (number,)))
                    collection.delete(selection, 1, None)
                    collection.insert([document(number, side)], ordered=True)
                else:
                    selection = Selection(In(("_id",), (number,)))
                    collection.replace(Replacement(selection, document(number, side), upsert=True))
        finally:
            writing.clear()

    def read() -> None:
        nonlocal compared
        while writing.is_set():
            one_state(collection)
            compared += 1

    with bitmaps_always():
        in_threads(lambda: write(1), lambda: write(2), read, read)
        assert compared > 0
        one_state(collection)


def one_state(collection: Collection) -> None:
    """Have a reader compare what it finds by the index with what it finds by SQL, in one transaction."""

    def check(tables: DocumentTables) -> None:
        plain = DocumentTables(tables.connection, collection.entry.settings.indexing)
        for filter_ in (LEFT, RIGHT, Not(LEFT), AllOf((LEFT, In(("both", "side"), ("left",)))), AllOf((LEFT, RIGHT))):
            assert positions(tables, filter_) == positions(plain, filter_)
        order = [SortField(("side",)), SortField(("_id",))]
        found = [tables.ordered(Not(RIGHT), order, skip=0, limit=3), plain.ordered(Not(RIGHT), order, skip=0, limit=3)]
        assert found[0] == found[1]

    collection._read(check)


def positions(tables: DocumentTables, filter_: Filter) -> list[int]:
    return tables.positions_matching(filter_).tolist()


def test_a_write_that_fails_leaves_the_index_as_it_was(make: Make) -> None:
    collection = make()
    collection.insert([document(number, "left") for number in range(DOCUMENTS)], ordered=True)
    assert collection.count(LEFT, 0) == (DOCUMENTS, False)

    def failing() -> None:
        collection._tables.begin_write()
        collection._tables.delete(1)
        raise ValueError("no reason")

    with pytest.raises(ValueError, match="no reason"):
        collection._queue.run(failing)
    collection.replace(Replacement(Selection(In(("_id",), (5,))), document(5, "right")))

    assert collection.count(LEFT, 0) == (DOCUMENTS - 1, False)
    assert collection.count(RIGHT, 0) == (1, False)
    assert len(collection._filter_index) > 0


def test_a_collection_that_is_opened_again_goes_on(tmp_path: Path) -> None:
    first = Engine(tmp_path)
    first.catalog.create_keyspace("d", "k")
    entry, _ = first.catalog.create_collection("d", "k", "c", CollectionSettings(), b"", None)
    collection = first.collection("d", "k", "c", entry.uid)
    collection.insert([document(number, "left") for number in range(DOCUMENTS)], ordered=True)
    first.close()

    again = Engine(tmp_path)
    collection = again.collection("d", "k", "c", entry.uid)
    assert collection.count(LEFT, 0) == (DOCUMENTS, False)
    collection.insert([document(DOCUMENTS, "left")], ordered=True)
    assert collection.count(LEFT, 0) == (DOCUMENTS + 1, False)
    assert len(collection._filter_index) > 0
    again.close()
