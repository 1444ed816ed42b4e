"""`orrery load` against a live server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import Orrery
from tests.transfer.target import DIMENSION, Target


@pytest.fixture
def target(orrery: Orrery) -> Iterator[Target]:
    target = Target(orrery).create()
    yield target
    target.drop()


def rejects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.with_name(f"{path.name}.rejects.jsonl").read_text().splitlines()]


def people(count: int) -> str:
    return "name,story,age\n" + "".join(f"n{number},the story of {number},{number}\n" for number in range(count))


def test_a_csv_is_embedded_and_found(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text(people(250))

    done = target.run("load", path, "--vectorize", "story")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("loaded 250, already there 0, rejected 0")
    documents = {document["name"]: document for document in target.documents()}
    assert len(documents) == 250
    assert documents["n7"]["age"] == 7
    assert documents["n7"]["story"] == documents["n7"]["$vectorize"] == "the story of 7"
    assert len(documents["n7"]["$vector"]) == DIMENSION
    assert not path.with_name("people.csv.rejects.jsonl").exists()


def test_a_second_run_sends_nothing_and_a_lost_journal_does_no_harm(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text(people(120))
    assert target.run("load", path, "--vectorize", "story", "--drop-field").returncode == 0

    again = target.run("load", path, "--vectorize", "story", "--drop-field")
    assert (again.returncode, "done by earlier runs 120" in again.stdout) == (0, True)

    (journal,) = tmp_path.glob("*.journal")
    journal.unlink()
    third = target.run("load", path, "--vectorize", "story", "--drop-field")
    assert third.stdout.startswith("loaded 0, already there 120, rejected 0")
    assert len(target.documents()) == 120
    assert "story" not in target.documents()[0]


def test_rejected_rows_are_told_with_reason_and_content(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"_id":"a","t":"x"}\nnope\n{"_id":"b","$bad":1}\n{"_id":"c","t":5}\n{"_id":[1]}\n{"_id":"d"}\n')

    done = target.run("load", path, "--vectorize", "t")

    assert done.returncode == 1
    assert done.stdout.startswith("loaded 2, already there 0, rejected 4")
    assert [(line["row"], line["code"]) for line in rejects(path)] == [
        (2, "ROW_NOT_JSON"),
        (3, "SHRED_BAD_FIELD_NAME"),
        (4, "INVALID_VECTORIZE_VALUE_TYPE"),
        (5, "SHRED_BAD_DOCID_TYPE"),
    ]
    assert rejects(path)[1]["content"] == {"_id": "b", "$bad": 1}
    again = target.run("load", path, "--vectorize", "t", "--retry-rejected")
    assert (again.returncode, len(rejects(path))) == (1, 4)
    assert {document["_id"] for document in target.documents()} == {"a", "d"}


def test_an_array_of_json_with_ids_and_vectors_of_its_own(orrery: Orrery, tmp_path: Path) -> None:
    target = Target(orrery).create({"dimension": 2, "metric": "euclidean"})
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"key": number, "place": [number, 0.5]} for number in range(30)]))

    done = target.run("load", path, "--id", "key", "--vector", "place")

    assert done.returncode == 0, done.stderr
    assert {document["_id"]: document["$vector"] for document in target.documents()} == {
        number: [number, 0.5] for number in range(30)
    }
    target.drop()


def test_parquet_is_loaded(target: Target, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    tables = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    tables.write_table(arrow.table({"_id": ["a", "b"], "t": ["x", "y"], "n": [1.5, None]}), path)

    assert target.run("load", path, "--vectorize", "t").returncode == 0
    documents = {document["_id"]: document for document in target.documents()}
    assert documents["a"]["n"] == 1.5
    assert "n" not in documents["b"]


def test_standard_input_is_loaded_once(target: Target, tmp_path: Path) -> None:
    lines = '{"a":1}\n{"a":1}\n'
    for expected in ("loaded 2, already there 0", "loaded 0, already there 2"):
        done = target.run("load", "-", "--format", "jsonl", stdin=lines)
        assert done.stdout.startswith(expected), done.stderr
    assert len(target.documents()) == 2


def test_replace_takes_the_place_of_what_is_there(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for value in (1, 2):
        path.write_text("".join(f'{{"_id":{number},"v":{value},"t":"text {value}"}}\n' for number in range(25)))
        done = target.run("load", path, "--replace", "--restart", "--vectorize", "t")
        assert done.returncode == 0, done.stderr
    documents = target.documents()
    assert len(documents) == 25
    assert {(document["v"], document["$vectorize"]) for document in documents} == {(2, "text 2")}


def test_large_documents_make_smaller_batches(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    blob = [["x" * 7900] * 400] * 2
    path.write_text("".join(json.dumps({"_id": number, "blob": blob[0]}) + "\n" for number in range(8)))

    assert target.run("load", path).returncode == 0
    assert target.command("countDocuments", filter={}) == {"status": {"count": 8}}


def test_a_changed_file_and_other_options_are_refused(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a":1}\n')
    assert target.run("load", path).returncode == 0

    other = target.run("load", path, "--id", "a")
    assert (other.returncode, "--restart" in other.stderr) == (2, True)
    path.write_text('{"a":2}\n')
    changed = target.run("load", path)
    assert (changed.returncode, "has changed since" in changed.stderr) == (2, True)
    assert target.run("load", path, "--restart").stdout.startswith("loaded 0, already there 1")


def test_a_journal_of_a_collection_that_was_emptied_is_not_believed(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a":1}\n')
    assert target.run("load", path).returncode == 0
    target.command("deleteMany", filter={})

    done = target.run("load", path)
    assert (done.returncode, "is empty" in done.stderr) == (2, True)


def test_a_dry_run_writes_nothing(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"t":"a text"}\n{"$bad":1}\n')

    done = target.run("load", path, "--vectorize", "t", "--dry-run")

    assert done.returncode == 1
    assert "texts to embed   1" in done.stdout
    assert "row 2: The field name '$bad'" in done.stdout
    assert target.documents() == []
    assert sorted(tmp_path.iterdir()) == [path]


def test_what_cannot_be_done_is_told_before_anything_is(orrery: Orrery, tmp_path: Path) -> None:
    target = Target(orrery).create({})
    path = tmp_path / "rows.jsonl"
    path.write_text('{"t":"a text"}\n')
    cases = {
        "no embedding service": target.run("load", path, "--vectorize", "t"),
        "no vectors": target.run("load", path, "--vector", "t"),
        "no file": target.run("load", tmp_path / "missing.csv"),
        "--format": target.run("load", "-", stdin=""),
    }
    for said, done in cases.items():
        assert (done.returncode, said in done.stderr) == (2, True), (said, done.stderr)
    missing = Target(orrery).run("load", path)
    assert (missing.returncode, "has no collection" in missing.stderr) == (3, True)
    wrong = target.run("load", path, ORRERY_TOKEN="wrong-token")
    assert (wrong.returncode, "UNAUTHENTICATED_REQUEST" in wrong.stderr) == (3, True)
    assert "wrong-token" not in wrong.stdout + wrong.stderr
    assert target.documents() == []
    target.drop()


def test_no_secret_is_left_behind(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"t":"a text"}\n{"$bad":1}\n')
    done = target.run("load", path, "--header-from", "x-embedding-api-key=KEY", KEY="sk-secret-4711")
    left = done.stdout + done.stderr + "".join(file.read_text() for file in tmp_path.iterdir())

    assert target.server.token not in left
    assert "sk-secret-4711" not in left
