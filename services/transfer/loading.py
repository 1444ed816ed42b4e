"""Loading: rows of files into batches, several batches on their way at a time, and a note of what was acknowledged."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from services.documents.codec import JsonValue
from services.transfer.data_api import DataApi
from services.transfer.delivery import BatchSize, Delivery, Item, Stored, item_of
from services.transfer.errors import TransferError, UsageError
from services.transfer.journal import Acknowledged, FileProgress, Identity, Journal
from services.transfer.mapping import Mapping
from services.transfer.progress import Meter
from services.transfer.rejects import Rejects, rejects_path
from services.transfer.sources import Rejection, Row
from services.transfer.sources.csv_rows import CsvStyle
from services.transfer.sources.opening import STDIN, open_source

#: As many rows refused for one and the same reason, before any was taken, mean that something else is wrong.
_ALIKE = 200


@dataclass(frozen=True, slots=True)
class Input:
    """A file to load, by its path, or `-`; with its format, and a folder for rejects that is not its own."""

    path: str
    format: str
    rejects_dir: Path | None = None

    @property
    def name(self) -> str:
        """The file's name, which ids are made from and rejects tell."""
        return "stdin" if self.path == STDIN else Path(self.path).name

    @property
    def key(self) -> str:
        """What a journal knows the file by."""
        return str(Path(self.path).resolve())

    @property
    def rejects(self) -> Path:
        """Where its rejects go."""
        return rejects_path(Path("stdin") if self.path == STDIN else Path(self.path), self.rejects_dir)


@dataclass(slots=True)
class Totals:
    """What came of a load. `earlier` are rows that runs before this one acknowledged, `tried` those of this one."""

    loaded: int = 0
    there: int = 0
    rejected: int = 0
    earlier: int = 0
    tried: int = 0
    rejects: list[Path] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    """Rows on their way: those with a document, and those that have none."""

    rows: list[tuple[Row, Item]] = field(default_factory=list)
    bad: list[tuple[int, JsonValue, Rejection]] = field(default_factory=list)
    bytes: int = 0
    span: int = 0

    def __len__(self) -> int:
        return len(self.rows) + len(self.bad)


class Loading:
    """A load of files into one collection."""

    def __init__(
        self, api: DataApi, collection: str, mapping: Mapping, style: CsvStyle, delivery: Delivery, size: BatchSize
    ) -> None:
        self._api = api
        self._place = f"{api.endpoint.keyspace}.{collection}"
        self._collection = collection
        self._mapping = mapping
        self._style = style
        self._delivery = delivery
        self._size = size
        self._reasons: Counter[str] = Counter()
        self.totals = Totals()

    async def run(
        self, given: Input, journal: Journal | None, meter: Meter, *, concurrency: int, retry_rejected: bool = False
    ) -> None:
        """Load one file, going on behind the rows that the journal tells of.

        Raises `TransferError` when it cannot be ended; what was acknowledged until then is in the journal.
        """
        known = FileProgress(Identity(0, ""))
        if journal is not None:
            known = journal.open_file(given.key, Identity.of(Path(given.path)))
            if retry_rejected:
                journal.forget_rejected(given.key)
            await self._check_there(known, journal)
        earlier = len(known.done)
        rejects = Rejects(given.rejects, given.name, self._place, lambda row: row not in known.done)
        self.totals.earlier += earlier
        self.totals.rejected += rejects.count
        flights: set[asyncio.Task[None]] = set()
        try:
            for batch in self._batches(given, known, meter):
                flights.add(asyncio.create_task(self._fly(batch, given, journal, rejects, meter)))
                # Something has to be let run between two batches, even while there is room for more of them.
                room = len(flights) < concurrency
                landed, flights = await asyncio.wait(
                    flights, timeout=0 if room else None, return_when=asyncio.FIRST_COMPLETED
                )
                for flight in landed:
                    flight.result()
            await asyncio.gather(*flights)
        finally:
            for flight in flights:
                flight.cancel()
            await asyncio.gather(*flights, return_exceptions=True)
            rejects.close()
            if rejects.count:
                self.totals.rejects.append(rejects.path)

    async def _check_there(self, known: FileProgress, journal: Journal) -> None:
        """Refuse to believe a journal whose rows are in a collection that is empty."""
        if known.loaded + known.there == 0:
            return
        answer = await self._api.run("findOne", {"projection": {"*": 0}}, self._collection)
        if msgspec.json.decode(answer.data) == {"document": None}:
            raise UsageError(
                f"{journal.path} tells of {known.loaded + known.there} loaded rows, but the collection "
                f"{self._place} is empty. Give --restart to load the file from its beginning"
            )

    def _batches(self, given: Input, known: FileProgress, meter: Meter) -> Iterator[_Batch]:
        batch, last = _Batch(), 0
        first = True
        with open_source(given.path, given.format, self._style) as source:
            for row in source.rows:
                if row.number in known.done:
                    continue
                if first and known.done:
                    last = source.position()
                    meter.skip(last)
                first = False
                if len(batch) >= self._size.documents or batch.bytes >= self._size.bytes:
                    batch.span, last = source.position() - last, source.position()
                    yield batch
                    batch = _Batch()
                self._add(batch, row, given)
            batch.span = source.position() - last
            if len(batch):
                yield batch

    def _add(self, batch: _Batch, row: Row, given: Input) -> None:
        document = self._mapping.document(row, given.name, by_content=given.path == STDIN)
        if isinstance(document, Rejection):
            batch.bad.append((row.number, row.content, document))
            return
        item = item_of(document)
        batch.rows.append((row, item))
        batch.bytes += len(item.json)

    async def _fly(self, batch: _Batch, given: Input, journal: Journal | None, rejects: Rejects, meter: Meter) -> None:
        results = await self._delivery.deliver([item for _, item in batch.rows]) if batch.rows else []
        rejected = list(batch.bad)
        for (row, _), result in zip(batch.rows, results, strict=True):
            if isinstance(result, Rejection):
                rejected.append((row.number, row.content, result))
        rejected.sort(key=lambda item: item[0])
        loaded, there = results.count(Stored.LOADED), results.count(Stored.THERE)
        # First the rejects, then the journal: a kill between the two makes rows be tried again, and lines be taken out.
        rejects.write(rejected)
        if journal is not None:
            numbers = sorted([row.number for row, _ in batch.rows] + [number for number, _, _ in batch.bad])
            acknowledged = Acknowledged(numbers, [number for number, _, _ in rejected], loaded, there)
            journal.acknowledge(given.key, acknowledged)
        self.totals.tried += len(batch)
        self.totals.loaded += loaded
        self.totals.there += there
        self.totals.rejected += len(rejected)
        meter.advance(batch.span, loaded + there, len(rejected))
        self._check_alike(rejected)

    def _check_alike(self, rejected: list[tuple[int, JsonValue, Rejection]]) -> None:
        self._reasons.update(reason.code for _, _, reason in rejected)
        code, count = next(iter(self._reasons.most_common(1)), ("", 0))
        if count >= _ALIKE and self.totals.loaded + self.totals.there == 0 and self.totals.earlier == 0:
            message = rejected[-1][2].message if rejected else ""
            raise TransferError(
                f"stopped: not one row was taken, and {count} were refused with {code}: {message} Mend what is wrong "
                "and give --retry-rejected to try these rows again"
            )
