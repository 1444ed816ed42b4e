"""`orrery export` and `orrery import` against a live server: what comes back is what went out."""

import base64
import gzip
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import Orrery
from tests.transfer.target import DIMENSION, SERVICE, Target

BINARY = base64.b64encode(struct.pack(f">{DIMENSION}f", 1.0, *[0.25] * (DIMENSION - 1))).decode()
#: Every kind of value, and vectors in each form that the Data API takes.
ODD: list[dict[str, Any]] = [
    {"_id": "text", "$vectorize": "A red planet", "n": 1},
    {"_id": 5, "$vector": [0.1] * DIMENSION},
    {"_id": {"$uuid": "11111111-1111-4111-8111-111111111111"}, "$vector": {"$binary": BINARY}},
    {"_id": {"$objectId": "0123456789abcdef01234567"}, "$vector": [0.123456789012345] * DIMENSION},
    {"_id": True, "$vectorize": None},
    {"_id": None, "$vectorize": "  "},
    {"_id": {"$date": 1700000000000}, "a": {"b": [1, {"c.d": None, "e&f": 'é\u2028\n"'}], "when": {"$date": -1}}},
    {"_id": "plain"},
]
EXACT = '{"insertOne":{"document":{"_id":"exact","big":123456789012345678901234567890,"d":1.10,"e":1e-30,"z":-0.0}}}'


@pytest.fixture
def odd(orrery: Orrery) -> Iterator[Target]:
    target = Target(orrery).create()
    for document in ODD:
        assert "errors" not in target.command("insertOne", document=document)
    target.http.post(f"/v1/default_keyspace/{target.name}", content=EXACT, headers={"Content-Type": "application/json"})
    assert len(target.documents()) == len(ODD) + 1
    yield target
    target.drop()


@pytest.fixture
def copy(orrery: Orrery) -> Iterator[Target]:
    target = Target(orrery)
    yield target
    target.drop()


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


def test_what_is_imported_is_what_was_exported(odd: Target, copy: Target, tmp_path: Path) -> None:
    exported = odd.run("export", tmp_path / "one")
    assert exported.returncode == 0, exported.stderr
    imported = copy.run("import", tmp_path / "one")
    assert imported.returncode == 0, imported.stderr + imported.stdout
    assert copy.run("export", tmp_path / "two").returncode == 0

    assert copy.text() == odd.text()
    first, second = manifest(tmp_path / "one"), manifest(tmp_path / "two")
    for name in ("created", "collection"):
        del first[name], second[name]
    del first["definition"]["name"], second["definition"]["name"]
    assert first == second
    for part in first["parts"]:
        assert (tmp_path / "one" / part["file"]).read_bytes() == (tmp_path / "two" / part["file"]).read_bytes()


def test_the_manifest_tells_where_vectors_come_from(odd: Target, tmp_path: Path) -> None:
    assert odd.run("export", tmp_path / "out").returncode == 0
    content = manifest(tmp_path / "out")

    assert (content["format"], content["version"]) == ("orrery-export", 1)
    assert content["definition"]["options"]["vector"]["service"] == SERVICE
    assert content["endpoint"] == odd.server.url.removeprefix("http://")
    assert (content["documents"], content["vectors"], content["texts"]) == (9, 4, 2)
    assert content["parts"][0]["shown_as_binary"] == [[3, 3]]
    everything = (tmp_path / "out" / "manifest.json").read_text()
    lines = gzip.decompress((tmp_path / "out" / "documents-00001.jsonl.gz").read_bytes()).splitlines()
    assert odd.server.token not in everything
    assert list(json.loads(lines[0])["$vector"]) == ["$binary"]
    assert json.loads(lines[0])["$vectorize"] == "A red planet"


def test_an_imported_text_can_be_searched_and_was_not_embedded(odd: Target, copy: Target, tmp_path: Path) -> None:
    assert odd.run("export", tmp_path / "out").returncode == 0
    assert copy.run("import", tmp_path / "out").returncode == 0

    found = copy.command("find", sort={"$vectorize": "A red planet"}, options={"limit": 1, "includeSimilarity": True})
    (document,) = found["data"]["documents"]
    assert (document["_id"], document["$similarity"]) == ("text", pytest.approx(1.0))
    assert copy.command("find", filter={"a.b.0": 1})["data"]["documents"][0]["_id"] == {"$date": 1700000000000}


def test_many_documents_go_in_parts_and_keep_their_order(orrery: Orrery, copy: Target, tmp_path: Path) -> None:
    target = Target(orrery).create({"dimension": 3, "metric": "euclidean"})
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"_id":{number},"v":[{number},1,0.5]}}\n' for number in range(730)))
    assert target.run("load", rows, "--vector", "v").returncode == 0
    assert target.run("export", tmp_path / "out", "--part-documents", "200").returncode == 0
    assert [part["documents"] for part in manifest(tmp_path / "out")["parts"]] == [200, 200, 200, 130]

    assert copy.run("import", tmp_path / "out").stdout.startswith("imported 730 documents")
    assert copy.documents() == target.documents()
    again = copy.run("import", tmp_path / "out")
    assert again.stdout.startswith("imported 0 documents")
    assert "already there 730" in again.stdout
    target.drop()


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_one_file_is_an_export_too(odd: Target, copy: Target, tmp_path: Path, name: str) -> None:
    assert odd.run("export", tmp_path / name).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}.manifest.json"]
    assert copy.run("import", tmp_path / name).returncode == 0
    assert copy.text() == odd.text()


def test_an_empty_collection_is_exported_and_imported(orrery: Orrery, copy: Target, tmp_path: Path) -> None:
    target = Target(orrery).create({"dimension": 3, "metric": "dot_product"}, indexing={"deny": ["x"]})
    assert target.run("export", tmp_path / "out").returncode == 0
    assert copy.run("import", tmp_path / "out").stdout.startswith("imported 0 documents")
    listed = copy.command("findCollections", at="", options={"explain": True})["status"]["collections"]
    options = {item["name"]: item["options"] for item in listed}
    assert options[copy.name] == options[target.name]
    target.drop()


def test_an_export_that_is_there_is_kept_unless_told_otherwise(odd: Target, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert odd.run("export", out).returncode == 0
    before = (out / "manifest.json").stat().st_mtime_ns
    refused = odd.run("export", out)
    assert (refused.returncode, "--overwrite" in refused.stderr) == (2, True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    mine = odd.run("export", tmp_path / "mine", "--overwrite")
    assert (mine.returncode, "is no export" in mine.stderr) == (2, True)
    assert (tmp_path / "mine" / "thesis.txt").exists()
    assert odd.run("export", out, "--overwrite").returncode == 0
    assert (out / "manifest.json").stat().st_mtime_ns > before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_a_damaged_export_changes_nothing(odd: Target, copy: Target, tmp_path: Path) -> None:
    assert odd.run("export", tmp_path / "out").returncode == 0
    part = tmp_path / "out" / "documents-00001.jsonl.gz"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)

    done = copy.run("import", tmp_path / "out")

    assert (done.returncode, "SHA-256" in done.stderr) == (2, True)
    assert copy.name not in copy.command("findCollections", at="")["status"]["collections"]


def test_a_collection_of_another_model_is_refused_unless_forced(odd: Target, copy: Target, tmp_path: Path) -> None:
    assert odd.run("export", tmp_path / "out").returncode == 0
    copy.create({"dimension": DIMENSION + 1, "metric": "euclidean"})

    done = copy.run("import", tmp_path / "out")
    assert done.returncode == 2
    for said in ("the dimension is 17 there and 16", "the metric is 'euclidean'", "the provider is none", "--force"):
        assert said in done.stderr
    assert copy.documents() == []

    forced = copy.run("import", tmp_path / "out", "--force")
    assert forced.returncode == 1
    rejected = [json.loads(line) for line in (tmp_path / "out.rejects.jsonl").read_text().splitlines()]
    assert {line["code"] for line in rejected} == {"INVALID_VECTOR_LENGTH"}
    assert len(rejected) + len(copy.documents()) == 9


def test_without_a_store_vectors_go_over_http(odd: Target, copy: Target, tmp_path: Path) -> None:
    assert odd.run("export", tmp_path / "out").returncode == 0
    nowhere = f"unix:{tmp_path}/no.sock"
    alone = copy.run("import", tmp_path / "out", "--store", nowhere)
    assert (alone.returncode, "--as-vectors" in alone.stderr) == (3, True)

    done = copy.run("import", tmp_path / "out", "--store", nowhere, "--as-vectors", "--text-field", "told")
    assert done.returncode == 0, done.stderr + done.stdout
    before = {json.dumps(document["_id"]): document for document in odd.documents()}
    for document in copy.documents():
        original = before.pop(json.dumps(document["_id"]))
        text = original.pop("$vectorize", None)
        if text is not None:
            original["told"] = text
        assert document == original
    assert before == {}


def test_what_is_no_export_is_told(copy: Target, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format":"other"}')
    for path, said in ((tmp_path / "missing", "no export"), (tmp_path, "no manifest")):
        done = copy.run("import", path)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
