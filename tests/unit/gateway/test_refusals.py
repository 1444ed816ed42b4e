"""What the audit log of the gateway has on disk, and what it leaves out where there are too many refusals."""

import asyncio
import json
from pathlib import Path
from typing import Any

from services.gateway.audit import Audit


def _entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _refuse(path: Path, tokens: list[str | None]) -> list[dict[str, Any]]:
    """Return what the file has of the refusals of `tokens`, in order."""

    async def run() -> None:
        audit = Audit(str(path))
        for token in tokens:
            audit.denied("wrong token", token=token)
        await audit.settle()

    asyncio.run(run())
    return [entry for entry in _entries(path) if entry["what"].startswith("denied")]


def test_an_action_is_on_disk_when_the_call_returns(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    asyncio.run(Audit(str(path)).add("createCollection", name="things", token="one"))

    started, created = _entries(path)
    assert started["what"] == "gateway started"
    assert (created["what"], created["name"], created["token"]) == ("createCollection", "things", "one")


def test_of_too_many_refusals_only_some_are_told(tmp_path: Path) -> None:
    assert 50 <= len(_refuse(tmp_path / "audit.log", [None] * 400)) < 100


def test_guesses_do_not_hide_what_a_token_was_refused(tmp_path: Path) -> None:
    told = _refuse(tmp_path / "audit.log", [*[None] * 400, "one"])

    (mine,) = (entry for entry in told if entry.get("token") == "one")
    assert mine["not_told_before"] > 300


def test_a_token_that_is_refused_again_and_again_does_not_hide_another(tmp_path: Path) -> None:
    told = _refuse(tmp_path / "audit.log", [*["one"] * 400, "other"])

    assert [entry["token"] for entry in told].count("other") == 1
