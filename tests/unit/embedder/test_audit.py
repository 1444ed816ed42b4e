"""The audit log: lines that are whole, for their owner alone, and never changed."""

import json
import os
from pathlib import Path

import pytest

from services.embedder.audit import AuditLog


def add(log: AuditLog, name: str = "k") -> None:
    """Append a line."""
    log.add("created", "p", name, before=(), after=("d", "é"), version=1, who="me")


def test_a_line_says_what_was_changed(tmp_path: Path) -> None:
    add(AuditLog(tmp_path / "audit.log"))

    line = json.loads((tmp_path / "audit.log").read_text())
    assert line.pop("time").endswith("Z")
    assert line == {
        "what": "created",
        "provider": "p",
        "name": "k",
        "databases_before": [],
        "databases_after": ["d", "é"],
        "active_version": 1,
        "who": "me",
    }


def test_the_file_is_its_owners_alone_whatever_it_was(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    before = os.umask(0)
    try:
        add(AuditLog(path))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600

    path.chmod(0o644)
    add(AuditLog(path))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_that_was_cut_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text('{"time": "2026-')

    add(AuditLog(path))

    cut, whole = path.read_text().splitlines()
    assert cut == '{"time": "2026-'
    assert json.loads(whole)["name"] == "k"


def test_the_file_may_be_moved_away_meanwhile(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    add(log, "first")
    (tmp_path / "audit.log").rename(tmp_path / "audit.log.1")
    add(log, "second")

    assert json.loads((tmp_path / "audit.log").read_text())["name"] == "second"


def test_a_name_cannot_make_a_line_of_its_own(tmp_path: Path) -> None:
    add(AuditLog(tmp_path / "audit.log"), 'k"}\n{"what": "deleted')

    assert len((tmp_path / "audit.log").read_text().splitlines()) == 1


def test_a_line_is_on_disk_before_the_call_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))

    add(AuditLog(tmp_path / "audit.log"))

    assert (tmp_path / "audit.log").stat().st_size in synced
