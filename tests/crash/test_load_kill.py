"""`kill -9` of a load, again and again: every row is there once at the end, and every rejected row is told of once."""

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import Orrery
from tests.transfer.target import Target

ROWS = 4000
KILLS = 6
#: Every so many rows, one that the server refuses, and one that is no JSON.
REFUSED, BROKEN = 50, 77


@pytest.fixture
def target(orrery: Orrery) -> Iterator[Target]:
    target = Target(orrery).create()
    yield target
    target.drop()


def row(number: int) -> str:
    if number % BROKEN == 0:
        return '{"n": '
    if number % REFUSED == 0:
        return json.dumps({"n": number, "$refused": True})
    return json.dumps({"n": number, "story": f"the story of row {number}"})


def acknowledged(journal: Path) -> int:
    """Return how many rows the journal tells of."""
    if not journal.exists():
        return 0
    lines = journal.read_text().splitlines()[2:]
    return sum(last - first + 1 for line in lines if line.endswith("}") for first, last in json.loads(line)["rows"])


@pytest.mark.timeout(300)
def test_a_load_that_is_killed_goes_on_exactly_where_it_was(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(row(number) + "\n" for number in range(1, ROWS + 1)))
    bad = {number for number in range(1, ROWS + 1) if number % BROKEN == 0 or number % REFUSED == 0}
    journal = tmp_path / f"rows.jsonl.default_keyspace.{target.name}.journal"
    line = target.line("load", path, "--vectorize", "story", "--batch", "10", "--concurrency", "3")

    killed_at = []
    for _ in range(KILLS):
        before = acknowledged(journal)
        loader = subprocess.Popen(line, env=target.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while acknowledged(journal) <= before and loader.poll() is None:
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.15))
        loader.kill()
        loader.communicate()
        assert loader.returncode in (-9, 1)
        killed_at.append(acknowledged(journal))
    assert killed_at == sorted(killed_at)
    assert killed_at[0] < ROWS, "the load was over before the first kill"
    done = subprocess.run(line, env=target.environment(), capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 1, done.stderr
    assert f"rejected {len(bad)}" in done.stdout
    found = Counter(document["n"] for document in target.documents())
    assert found == Counter(number for number in range(1, ROWS + 1) if number not in bad)
    lines = [json.loads(text) for text in (tmp_path / "rows.jsonl.rejects.jsonl").read_text().splitlines()]
    assert Counter(item["row"] for item in lines) == Counter(bad)
    assert acknowledged(journal) == ROWS
