"""What a load notes, and when it stops by itself."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from services.transfer.data_api import DataApi, Endpoint
from services.transfer.delivery import BatchSize, Item, Result, Stored
from services.transfer.errors import TransferError
from services.transfer.journal import Journal
from services.transfer.loading import Input, Loading
from services.transfer.mapping import Mapping
from services.transfer.progress import Meter
from services.transfer.sources import Rejection
from services.transfer.sources.csv_rows import CsvStyle


class Scripted:
    """Delivers by a script: a row's `_id` says what becomes of it. Remembers what it delivered."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.delivered: list[str] = []
        self._left = fail_after

    async def deliver(self, items: Sequence[Item]) -> list[Result]:
        await asyncio.sleep(0)
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise TransferError("the endpoint is gone")
        ids = [json.loads(item.identifier) for item in items]
        self.delivered += ids
        return [Rejection("BAD", "bad") if "bad" in name else Stored.LOADED for name in ids]


def run(path: Path, delivery: Scripted, *, concurrency: int = 3) -> Loading:
    async def work() -> Loading:
        async with DataApi(Endpoint("http://127.0.0.1:1"), timeout=1, patience=0) as api:
            loading = Loading(api, "c", Mapping(), CsvStyle(), delivery, BatchSize(4, 1 << 20))

            async def nothing(*_: object) -> None:
                return None

            loading._check_there = nothing  # type: ignore[method-assign]
            journal = Journal(path.with_suffix(".journal"), {})
            try:
                with Meter("", None) as meter:
                    await loading.run(Input(str(path), "jsonl"), journal, meter, concurrency=concurrency)
            finally:
                journal.close()
            return loading

    return asyncio.run(work())


def rejected(path: Path) -> list[int]:
    return [json.loads(line)["row"] for line in path.with_name("a.jsonl.rejects.jsonl").read_text().splitlines()]


def rows(path: Path, names: list[str]) -> None:
    path.write_text("".join(json.dumps({"_id": name}) + "\n" for name in names))


def test_a_load_that_failed_goes_on_with_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    names = [f"bad{number}" if number % 5 == 0 else f"row{number}" for number in range(1, 51)]
    rows(path, names)
    first = Scripted(fail_after=5)
    with pytest.raises(TransferError, match="gone"):
        run(path, first)
    second = Scripted()
    loading = run(path, second)

    assert sorted(first.delivered + second.delivered) == sorted(names)
    assert sorted(rejected(path)) == list(range(5, 51, 5))
    assert loading.totals.earlier == len(first.delivered)
    assert loading.totals.rejected == 10
    assert run(path, third := Scripted()).totals.tried == 0
    assert third.delivered == []


def test_rejects_without_an_acknowledgement_are_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    rows(path, ["bad1", "row2", "bad3"])

    def killed(*_: object) -> None:
        raise TransferError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "acknowledge", killed)
        with pytest.raises(TransferError, match="killed"):
            run(path, Scripted())
    assert rejected(path) == [1, 3]
    run(path, Scripted())

    assert rejected(path) == [1, 3]


def test_a_load_of_which_nothing_is_taken_stops(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows(path, [f"bad{number}" for number in range(1000)])
    delivery = Scripted()
    with pytest.raises(TransferError, match="--retry-rejected"):
        run(path, delivery)

    assert len(delivery.delivered) < 300
