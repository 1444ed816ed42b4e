"""Why checkpoints are not left to SQLite: after a sync that failed it takes pages for copied that are nowhere."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

from tests.crash.faults.checkpoints import ROWS
from tests.crash.faults.disk import DATABASE, FaultyDisk


@pytest.mark.parametrize(("kind", "keeps"), [("writer", True), ("sqlite", False)])
def test_a_checkpoint_whose_sync_failed_is_begun_anew(disk: FaultyDisk, kind: str, keeps: bool) -> None:
    file = disk.below / "t.db"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.faults.checkpoints", kind, str(file)],
        env={**os.environ, **disk.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "first part copied\n"
    disk.fail(DATABASE, sync_errno=errno.EIO)
    print(file=process.stdin, flush=True)
    assert process.stdout.readline() == "the sync failed\n"
    disk.heal()
    while True:
        time.sleep(1)
        print(file=process.stdin, flush=True)
        if (line := process.stdout.readline()) == "acknowledged\n":
            break
        assert line.startswith("refused: "), line
    assert process.wait(30) == 0

    disk.cut_power()

    assert is_whole(file) is keeps


def is_whole(file: Path) -> bool:
    """Tell whether every row that was acknowledged is there."""
    try:
        found = dict(apsw.Connection(str(file)).execute("SELECT part, count(*) FROM t GROUP BY part").fetchall())
    except apsw.Error:
        return False
    return found == {1: ROWS, 2: ROWS, 3: 1}
