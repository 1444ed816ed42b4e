"""Backup and restore of a database: of one moment, whole or not there, refused when not as written."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from services.documents.paths import Path as DocumentPath
from services.runtime.errors import DataApiError
from services.store.backup import back_up
from services.store.changes import Selection, VectorOrder
from services.store.collection import Collection
from services.store.documents import FORMAT
from services.store.engine import Engine
from services.store.filters import EVERYTHING, In
from services.store.manifest import BACKUP_FORMAT, MANIFEST, Manifest, read_manifest
from services.store.projection import Projection
from services.store.records import CollectionSettings, Record, StoredVector, VectorSettings
from services.store.restore import restore
from services.store.vectors.similarity import Metric
from tests.unit.store.conftest import Make

VECTORS = CollectionSettings(VectorSettings(4, Metric.EUCLIDEAN))
WRITERS = 3
EVERYTHING_OF_IT = Projection(include_vector=True)
N: DocumentPath = ("n",)


def record(identifier: int) -> Record:
    """Return a document whose members and vector all say which it is."""
    values = np.random.default_rng(identifier).standard_normal(4).astype("<f4").tobytes()
    return Record(b'{"_id":%d,"n":%d}' % (identifier, identifier), StoredVector(values))


def run(steps: Any) -> Manifest:
    """Run an operation to its end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            assert isinstance(end.value, Manifest)
            return end.value


def identifiers(collection: Collection) -> list[int]:
    found, _ = collection.find(Selection(), EVERYTHING_OF_IT, skip=0, limit=100_000, after=0)
    return [json.loads(item.record.json)["_id"] for item in found]


def check(collection: Collection) -> set[int]:
    """Check that documents, postings, counts and index say the same; return the identifiers."""
    found = identifiers(collection)
    assert collection.totals() == (len(found), len(found))
    for identifier in found:
        expected = record(identifier)
        by_filter = Selection(In(N, (identifier,)))
        assert expected.vector is not None
        by_vector = Selection(EVERYTHING, VectorOrder(expected.vector.values))
        for selection in (by_filter, by_vector):
            (item,), _ = collection.find(selection, EVERYTHING_OF_IT, skip=0, limit=1, after=0)
            assert item.record == expected
    return set(found)


@pytest.fixture
def filled(engine: Engine, make: Make, tmp_path: Path) -> Path:
    """A backup of `k.c` (three vectors), `k.plain`, `k.unused` that has no file, and an empty keyspace."""
    make(VECTORS).insert([record(number) for number in range(3)], ordered=True)
    make(name="plain").insert([Record(b'{"_id":1}')], ordered=True)
    engine.catalog.create_keyspace("d", "empty")
    engine.catalog.create_collection("d", "k", "unused", CollectionSettings(), b"\x00attributes", None)
    run(back_up(engine, "d", tmp_path / "backup"))
    return tmp_path / "backup"


def test_a_restored_database_is_the_one_that_was_backed_up(engine: Engine, filled: Path) -> None:
    manifest = run(restore(engine, filled, "other"))

    assert engine.catalog.keyspaces("other") == ["empty", "k"]
    assert [(item.name, item.documents, item.vectors, item.sequence) for item in manifest.collections] == [
        ("c", 3, 3, 1),
        ("plain", 1, 0, 1),
        ("unused", 0, 0, 0),
    ]
    assert check(engine.collection("other", "k", "c", "")) == {0, 1, 2}
    entry = engine.catalog.collection("other", "k", "unused")
    assert (entry.attributes, entry.settings) == (b"\x00attributes", CollectionSettings())
    for name in ("c", "plain", "unused"):
        assert engine.catalog.collection("other", "k", name).uid != engine.catalog.collection("d", "k", name).uid
        engine.collection("other", "k", name, "").insert([record(7)], ordered=True)
        assert 7 not in identifiers(engine.collection("d", "k", name, ""))


def test_a_restore_and_the_database_it_makes_are_in_the_audit_log(engine: Engine, filled: Path) -> None:
    def audited() -> list[dict[str, Any]]:
        lines = (engine.data_dir / "audit.log").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["database"] == "other"]

    run(restore(engine, filled, "other", who="me"))
    created, restored = audited()
    run(restore(engine, filled, "other", replace=True, who="you"))
    *_, again = audited()

    assert (created["what"], created["who"]) == ("database created", "me")
    assert (
        restored.items()
        >= {
            "what": "database restored",
            "database_id": created["database_id"],
            "backup": str(filled),
            "collections": 3,
            "replaced": [],
            "who": "me",
        }.items()
    )
    assert again["database_id"] == created["database_id"]
    assert (again["who"], again["replaced"]) == ("you", ["k.c", "k.plain", "k.unused"])


@pytest.mark.parametrize("name", ["Bad Name", "5b1f6f62-93a4-4be8-8bd5-1d8ab3a1a0f1"])
def test_a_restore_makes_no_database_that_could_not_be_created(engine: Engine, filled: Path, name: str) -> None:
    assert f"'{name}'" in refused(restore(engine, filled, name), "DATABASE_NAME_INVALID")

    assert nothing_changed(engine)


def test_a_database_whose_name_is_of_an_earlier_version_is_restored(engine: Engine, filled: Path) -> None:
    engine.catalog.create_keyspace("Old_Name", "k")

    run(restore(engine, filled, "Old_Name"))

    assert check(engine.collection("Old_Name", "k", "c", "")) == {0, 1, 2}


def test_a_restore_that_cannot_be_logged_is_not_made(engine: Engine, filled: Path) -> None:
    (engine.data_dir / "audit.log").unlink()
    (engine.data_dir / "audit.log").mkdir()

    assert "Nothing was changed" in refused(restore(engine, filled, "other"), "FAILED_WRITE_REQUEST")

    assert nothing_changed(engine)


def test_a_backup_is_restored_into_another_store(engine: Engine, filled: Path, tmp_path: Path) -> None:
    other = Engine(tmp_path / "other")

    run(restore(other, filled))

    assert check(other.collection("d", "k", "c", "")) == {0, 1, 2}
    other.close()


def test_collections_that_are_not_open_are_in_it(tmp_path: Path) -> None:
    first = Engine(tmp_path / "data")
    first.catalog.create_keyspace("d", "k")
    first.catalog.create_collection("d", "k", "c", VECTORS, b"", None)
    first.collection("d", "k", "c", "").insert([record(1)], ordered=True)
    first.close()
    again = Engine(tmp_path / "data")

    manifest = run(back_up(again, "d", tmp_path / "backup"))

    assert manifest.collections[0].documents == 1
    assert again.opened(manifest.collections[0].uid) is None
    again.close()


def test_an_existing_collection_is_refused_unless_it_is_to_be_replaced(
    engine: Engine, make: Make, filled: Path, tmp_path: Path
) -> None:
    before = make(VECTORS)
    before.insert([record(9)], ordered=True)
    make(name="besides").insert([Record(b'{"_id":1}')], ordered=True)

    with pytest.raises(DataApiError, match=r"k\.c, k\.plain") as refused:
        run(restore(engine, filled))
    assert refused.value.code == "RESTORE_TARGET_EXISTS"
    assert identifiers(make(VECTORS)) == [0, 1, 2, 9]

    run(restore(engine, filled, replace=True))

    assert check(engine.collection("d", "k", "c", "")) == {0, 1, 2}
    assert identifiers(make(name="besides")) == [1]
    with pytest.raises(DataApiError) as replaced:
        before.count(EVERYTHING, 0)
    assert replaced.value.code == "COLLECTION_CHANGED"
    assert {path.name for path in (tmp_path / "data" / "collections").iterdir()} <= engine.catalog.uids()


class Writers:
    """Threads that insert into one collection and then into the other, and know what was acknowledged."""

    def __init__(self, first: Collection, second: Collection) -> None:
        self.acknowledged: tuple[set[int], set[int]] = (set(), set())
        self.stop = threading.Event()
        self._collections = (first, second)
        self._threads = ThreadPoolExecutor(WRITERS)
        self._runs = [self._threads.submit(self._run, number) for number in range(WRITERS)]

    def _run(self, writer: int) -> None:
        batch = 0
        while not self.stop.is_set():
            numbers = range(writer * 1_000_000 + batch * 3, writer * 1_000_000 + batch * 3 + 3)
            for collection, acknowledged in zip(self._collections, self.acknowledged, strict=True):
                collection.insert([record(number) for number in numbers], ordered=True)
                acknowledged.update(numbers)
            batch += 1

    def done(self) -> None:
        self.stop.set()
        for run_ in self._runs:
            run_.result(30)
        self._threads.shutdown()


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen within 30 seconds")


def test_a_backup_under_writers_is_of_one_moment(engine: Engine, make: Make, tmp_path: Path) -> None:
    writers = Writers(make(VECTORS, "first"), make(VECTORS, "second"))
    for turn in range(3):
        seen = len(writers.acknowledged[1])
        wait_for(lambda seen=seen: len(writers.acknowledged[1]) > seen + 30)  # type: ignore[misc]
        before = [set(acknowledged) for acknowledged in writers.acknowledged]
        run(back_up(engine, "d", tmp_path / f"backup-{turn}"))
        run(restore(engine, tmp_path / f"backup-{turn}", f"copy-{turn}"))

        first, second = (check(engine.collection(f"copy-{turn}", "k", name, "")) for name in ("first", "second"))
        assert before[0] <= first
        assert before[1] <= second
        # Whoever writes has what is in the second collection in the first, and at most one batch more.
        assert second <= first
        assert len(first - second) <= 3 * WRITERS
        for found in (first, second):
            assert all(number // 3 * 3 + at in found for number in found for at in range(3) if number < 1_000_000)
            assert len(found) % 3 == 0
    writers.done()


def test_a_collection_dropped_while_it_is_copied_is_in_the_backup(engine: Engine, make: Make, tmp_path: Path) -> None:
    make(VECTORS).insert([record(number) for number in range(5)], ordered=True)
    steps = back_up(engine, "d", tmp_path / "backup")
    next(steps)

    engine.drop_collection("d", "k", "c")
    run(steps)

    run(restore(engine, tmp_path / "backup"))
    assert check(engine.collection("d", "k", "c", "")) == set(range(5))


# --- what is refused --------------------------------------------------------


def refused(steps: Any, code: str) -> str:
    with pytest.raises(DataApiError) as failed:
        run(steps)
    assert failed.value.code == code
    return failed.value.message


def nothing_changed(engine: Engine) -> bool:
    known = {path.name for path in (engine.data_dir / "collections").iterdir()}
    return engine.catalog.databases() == ["d"] and known <= engine.catalog.uids()


def test_a_byte_that_flipped_is_refused_by_the_files_name(engine: Engine, filled: Path) -> None:
    for path in sorted(filled.iterdir()):
        content = path.read_bytes()
        for at in {0, len(content) // 2, len(content) - 2}:
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            assert f"{path.name} is damaged" in refused(restore(engine, filled, "new"), "BACKUP_INVALID")
        path.write_bytes(content)
    assert nothing_changed(engine)


def test_a_file_that_is_missing_or_short_is_refused_by_its_name(engine: Engine, filled: Path) -> None:
    for path in sorted(filled.iterdir()):
        content = path.read_bytes()
        path.unlink()
        message = refused(restore(engine, filled, "new"), "BACKUP_INVALID")
        assert path.name in message
        path.write_bytes(content[:-1])
        if path.name != MANIFEST:
            assert f"{len(content) - 1} bytes instead of {len(content)}" in refused(
                restore(engine, filled, "new"), "BACKUP_INVALID"
            )
        path.write_bytes(content)
    assert nothing_changed(engine)


def test_a_newer_backup_is_refused(engine: Engine, filled: Path) -> None:
    manifest = read_manifest(filled)
    newer_file = msgspec.structs.replace(manifest.collections[0], format=FORMAT.version + 1)
    for newer in (
        msgspec.structs.replace(manifest, format=BACKUP_FORMAT + 1),
        msgspec.structs.replace(manifest, collections=[newer_file]),
    ):
        (filled / MANIFEST).write_bytes(newer.encoded())
        assert "written by a newer Orrery" in refused(restore(engine, filled, "new"), "BACKUP_INVALID")
    (filled / MANIFEST).write_bytes(b'{"format": 2, "what": "nobody knows"}')
    assert "format version 2" in refused(restore(engine, filled, "new"), "BACKUP_INVALID")


def test_a_manifest_cannot_name_files_elsewhere(engine: Engine, filled: Path, tmp_path: Path) -> None:
    manifest = read_manifest(filled)
    elsewhere = msgspec.structs.replace(manifest.collections[0], file="../data/catalog.db")
    (filled / MANIFEST).write_bytes(msgspec.structs.replace(manifest, collections=[elsewhere]).encoded())

    assert "contradicts itself" in refused(restore(engine, filled, "new"), "BACKUP_INVALID")


@pytest.mark.parametrize("folder", ["relative", "{tmp}/backup", "{tmp}/missing/backup", "{tmp}/data/backup"])
def test_a_target_that_will_not_do_is_refused(engine: Engine, filled: Path, tmp_path: Path, folder: str) -> None:
    before = sorted(path.name for path in filled.iterdir())

    refused(back_up(engine, "d", Path(folder.format(tmp=tmp_path))), "BACKUP_TARGET_INVALID")

    assert sorted(path.name for path in filled.iterdir()) == before


def test_an_unknown_database_is_refused_with_those_there_are(engine: Engine, tmp_path: Path) -> None:
    assert "there are: d" in refused(back_up(engine, "nowhere", tmp_path / "backup"), "BACKUP_FAILED")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_damaged_collection_is_named_and_no_backup_is_left(engine: Engine, make: Make, tmp_path: Path) -> None:
    make().insert([record(1)], ordered=True)
    entry, _ = engine.catalog.create_collection("d", "k", "broken", CollectionSettings(), b"", None)
    engine.folder(entry.uid).mkdir()
    (engine.folder(entry.uid) / "documents.db").write_bytes(b"garbage" * 1000)

    message = refused(back_up(engine, "d", tmp_path / "backup"), "BACKUP_FAILED")

    assert "k.broken: " in message
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert engine.catalog.noted_backups() == []
    make().insert([record(2)], ordered=True)


def test_one_operation_is_done_at_a_time(engine: Engine, filled: Path, tmp_path: Path) -> None:
    under_way = back_up(engine, "d", tmp_path / "second")
    next(under_way)

    refused(back_up(engine, "d", tmp_path / "third"), "OPERATION_UNDER_WAY")
    refused(restore(engine, filled, "new"), "OPERATION_UNDER_WAY")
    run(under_way)
    run(restore(engine, tmp_path / "second", "new"))


def test_what_is_given_up_leaves_nothing(engine: Engine, filled: Path, tmp_path: Path) -> None:
    def given_up(steps: Iterator[object], after: int) -> None:
        for _ in range(after):
            next(steps)
        steps.close()  # type: ignore[attr-defined]

    for after in range(1, 6):
        given_up(back_up(engine, "d", tmp_path / "second"), after)
        given_up(restore(engine, filled, "new"), after)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "data"]
    assert engine.catalog.noted_backups() == []
    assert nothing_changed(engine)


def test_what_a_killed_backup_left_goes_at_the_next_start(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "data")
    partial = tmp_path / ".backup.0123.partial"
    partial.mkdir()
    (partial / "x.db").write_bytes(b"x")
    engine.catalog.note_backup(str(partial))
    engine.close()

    Engine(tmp_path / "data").close()

    assert not partial.exists()


def test_nothing_is_written_or_opened_while_a_database_stands_still(engine: Engine, make: Make) -> None:
    collections = [make(VECTORS, name) for name in ("a", "b")]
    engine.catalog.create_collection("d", "k", "new", VECTORS, b"", None)

    with ThreadPoolExecutor(3) as threads:
        with engine.standing_still("d") as contents:
            writes = [threads.submit(one.insert, [record(1)], ordered=True) for one in collections]
            writes.append(
                threads.submit(lambda: engine.collection("d", "k", "new", "").insert([record(1)], ordered=True))
            )
            threading.Event().wait(0.2)
            assert [write.done() for write in writes] == [False] * 3
            assert [one.count(EVERYTHING, 0) for one in collections] == [(0, False)] * 2
            assert [entry.name for entry in contents["k"]] == ["a", "b", "new"]
        for write in writes:
            write.result(10)
