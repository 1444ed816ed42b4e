"""The journal of a load: what it tells after any end of the process that wrote it."""

import os
import random
from pathlib import Path

import pytest

from services.transfer.errors import UsageError
from services.transfer.journal import Acknowledged, Identity, Journal, journal_path
from services.transfer.row_set import RowSet, ranges_of

LOAD = {"endpoint": "127.0.0.1:8181", "collection": "people"}
FILE = Identity(10, "ab")


def acknowledged(*rows: int, rejected: tuple[int, ...] = ()) -> Acknowledged:
    return Acknowledged(list(rows), list(rejected), len(rows) - len(rejected), 0)


def done(journal: Journal, name: str = "a", most: int = 20) -> list[int]:
    return [number for number in range(most) if number in journal.files[name].done]


def test_a_journal_tells_what_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path, LOAD)
    journal.open_file("a", FILE)
    journal.acknowledge("a", acknowledged(5, 6, 9))
    journal.acknowledge("a", acknowledged(1, 2, rejected=(2,)))
    journal.close()

    again = Journal(path, LOAD)
    known = again.open_file("a", FILE)
    assert done(again) == [1, 2, 5, 6, 9]
    assert (known.loaded, known.rejected) == (4, {2})
    assert again.forget_rejected("a") == 1
    again.close()

    third = Journal(path, LOAD)
    assert done(third) == [1, 5, 6, 9]
    assert third.files["a"].rejected == set()
    third.close()


def test_wherever_it_was_cut_it_tells_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path, LOAD)
    journal.open_file("a", FILE)
    ends = {}
    for row in range(1, 6):
        journal.acknowledge("a", acknowledged(row))
        ends[path.stat().st_size] = row
    journal.close()
    whole = path.read_bytes()
    first = min(ends)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        cut = Journal(path, LOAD)
        cut.open_file("a", FILE)
        expected = max((row for end, row in ends.items() if end <= size), default=0)
        assert done(cut) == list(range(1, expected + 1)), size
        cut.acknowledge("a", acknowledged(19))
        cut.close()
        again = Journal(path, LOAD)
        assert 19 in again.files["a"].done
        again.close()
    assert first < len(whole)


def test_rows_after_damage_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path, LOAD)
    journal.open_file("a", FILE)
    for row in (1, 2, 3):
        journal.acknowledge("a", acknowledged(row))
    journal.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"\0" * 40 + b"\n", *lines[4:]]))

    again = Journal(path, LOAD)
    assert done(again) == [1]
    again.close()


def test_a_changed_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", LOAD)
    journal.open_file("a", FILE)
    with pytest.raises(UsageError, match="--restart"):
        journal.open_file("a", Identity(10, "cd"))
    journal.close()


def test_a_file_is_told_by_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(300_000))
    before = Identity.of(path)
    stamp = path.stat()
    with path.open("r+b") as file:
        file.seek(150_000)
        file.write(b"x")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    assert Identity.of(path) != before


def test_another_load_is_refused_and_restart_forgets(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path, LOAD)
    journal.open_file("a", FILE)
    journal.acknowledge("a", acknowledged(1))
    journal.close()
    other = {**LOAD, "collection": "places"}
    with pytest.raises(UsageError, match="collection was 'people' and is now 'places'"):
        Journal(path, other)

    fresh = Journal(path, other, restart=True)
    assert fresh.files == {}
    fresh.close()


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_text('{"mine": 1}\n')
    with pytest.raises(UsageError, match="no journal"):
        Journal(path, LOAD)
    assert path.read_text() == '{"mine": 1}\n'


def test_two_loads_do_not_share_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", LOAD)
    with pytest.raises(UsageError, match="another load"):
        Journal(tmp_path / "j", LOAD)
    journal.close()
    Journal(tmp_path / "j", LOAD).close()


def test_a_journal_is_of_one_file_and_one_collection(tmp_path: Path) -> None:
    paths = {journal_path(tmp_path / "a.csv", "ks", name) for name in ("one", "two")}
    assert {path.name for path in paths} == {"a.csv.ks.one.journal", "a.csv.ks.two.journal"}


def test_row_set_is_a_set() -> None:
    generator = random.Random(7)
    for _ in range(200):
        rows, model = RowSet(), set[int]()
        for _ in range(20):
            first = generator.randint(1, 40)
            last = first + generator.randint(0, 6)
            if generator.random() < 0.7:
                rows.add(first, last)
                model |= set(range(first, last + 1))
            else:
                rows.discard(list(range(first, last + 1)))
                model -= set(range(first, last + 1))
            assert {number for number in range(60) if number in rows} == model
            assert len(rows) == len(model)
            assert rows.ranges() == [tuple(item) for item in ranges_of(sorted(model))]
