"""`orrery backup`, `restore`, `stats` and `compact` against a live server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import Orrery


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orrery]:
    with Orrery(tmp_path_factory.mktemp("live")) as orrery:
        send(orrery, "", {"createCollection": {"name": "planets", "options": {"vector": {"dimension": 2}}}})
        documents = [{"_id": number, "$vector": [1, number]} for number in range(20)]
        send(orrery, "planets", {"insertMany": {"documents": documents}})
        yield orrery


def send(orrery: Orrery, collection: str, command: dict[str, Any]) -> dict[str, Any]:
    url = f"{orrery.url}/v1/default_keyspace/{collection}".rstrip("/")
    answer: dict[str, Any] = httpx.post(url, json=command, headers={"Token": orrery.token}, trust_env=False).json()
    assert "errors" not in answer, answer
    return answer


def count(orrery: Orrery) -> int:
    return int(send(orrery, "planets", {"countDocuments": {}})["status"]["count"])


def test_a_database_is_backed_up_and_restored_while_it_is_served(live: Orrery, tmp_path: Path) -> None:
    folder = tmp_path / "backup"

    made = live.command("backup", str(folder))
    send(live, "planets", {"deleteMany": {"filter": {"_id": {"$gte": 5}}}})
    refused = live.command("restore", str(folder))
    restored = live.command("restore", str(folder), "--replace")

    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith(f"backed default up to {folder}: 1 collections, 20 documents, ")
    assert refused.returncode == 1
    assert "has collections of the backup already: default_keyspace.planets" in refused.stderr
    assert "orrery restore --replace" in refused.stderr
    assert restored.returncode == 0, restored.stderr
    # The gateway remembers the collection that was replaced, and finds the new one by itself.
    assert count(live) == 20
    again = live.command("backup", str(folder))
    assert again.returncode == 1
    assert f"A backup cannot be written to {folder}: it exists already." in again.stderr


def test_figures_are_shown_as_a_table_and_as_json(live: Orrery) -> None:
    count(live)

    table = live.command("stats")
    one = live.command("stats", "default_keyspace.planets")
    figures = json.loads(live.command("stats", "default_keyspace.planets", "--json").stdout)["figures"]
    everything = json.loads(live.command("stats", "--json").stdout)["collections"]
    nothing = live.command("stats", "--database", "nowhere")

    (row,) = [line for line in table.stdout.splitlines() if "default_keyspace.planets" in line]
    assert [cell.strip() for cell in row.split("│")][2:6] == ["open", "20", "20", "exact"]
    assert "never measured" in one.stdout
    assert (figures["documents"], figures["index"]["kind"]) == ("20", "INDEX_KIND_EXACT")
    assert everything == [figures]
    assert nothing.stdout == "the database 'nowhere' has no collections\n"


def test_collections_are_compacted(live: Orrery) -> None:
    one = live.command("compact", "default_keyspace.planets")
    everything = live.command("compact", "--all")

    for done in (one, everything):
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("compacted default_keyspace.planets: ")
    assert count(live) == 20


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("stats", "planets"), "write KEYSPACE.COLLECTION"),
        (("compact",), "--all"),
        (("compact", "default_keyspace.planets", "--all"), "--all"),
        (("stats", "default_keyspace.comets"), "'comets'"),
        (("restore", "nothing"), "manifest.json cannot be read"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(live: Orrery, arguments: tuple[str, ...], says: str) -> None:
    done = live.command(*arguments)

    assert done.returncode != 0
    assert says in done.stderr


def test_without_a_server_the_command_says_how_to_start_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.cli", "backup", "backup", "--data-dir", str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert f"start one with `orrery up --data-dir {tmp_path}`" in done.stderr
