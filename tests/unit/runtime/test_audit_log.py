"""Audit files: lines that are whole, in order, for their owner alone."""

import json
import threading
from pathlib import Path

from services.runtime.audit import AuditFile


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_entries_follow_one_another_with_their_times(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "audit.log")

    file.add({"what": "a", "name": "é"})
    file.add({"what": "b"})

    first, second = lines(tmp_path / "audit.log")
    assert (first["what"], first["name"], second["what"]) == ("a", "é", "b")
    assert str(first["time"]) <= str(second["time"])
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o600


def test_a_line_that_was_cut_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text('{"what": "ha')

    AuditFile(path).add({"what": "whole"})

    assert json.loads(path.read_text().splitlines()[1])["what"] == "whole"


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "audit.log")
    threads = [threading.Thread(target=file.add, args=({"what": str(n)},)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(int(str(line["what"])) for line in lines(tmp_path / "audit.log")) == list(range(20))
