"""Opening a source by its format, and telling how far it has been read."""

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from services.transfer.errors import UsageError
from services.transfer.sources.csv_rows import CsvStyle, read_csv
from services.transfer.sources.json_rows import read_array, read_lines
from services.transfer.sources.parquet_rows import ParquetFile
from services.transfer.sources.row import Row

FORMATS = ("json", "jsonl", "csv", "parquet")
STDIN = "-"
_SUFFIXES = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True, slots=True)
class Source:
    """An open source. `position` and `size` are of one unit; `size` is None where nobody knows it."""

    name: str
    rows: Iterator[Row]
    position: Callable[[], int]
    size: int | None


def format_of(path: str, given: str | None) -> str:
    """Return the format of a file, by its name unless it is given. Raises `UsageError` where neither tells."""
    if given is not None:
        if given not in FORMATS:
            raise UsageError(f"--format {given} is not known; give one of {', '.join(FORMATS)}")
        return given
    if path == STDIN:
        raise UsageError(f"standard input needs --format, one of {', '.join(FORMATS)}")
    suffix = Path(path.removesuffix(".gz")).suffix.lower()
    if suffix not in _SUFFIXES:
        raise UsageError(f"the name of {path} does not tell its format; give --format, one of {', '.join(FORMATS)}")
    return _SUFFIXES[suffix]


@contextmanager
def open_source(path: str, kind: str, style: CsvStyle) -> Iterator[Source]:
    """Give an open source. Raises `UsageError` or `TransferError`, naming the file, for one that cannot be read."""
    if kind == "parquet":
        if path == STDIN or path.endswith(".gz"):
            raise UsageError("Parquet is read from a file that is not compressed itself: its end has to be read first")
        file = ParquetFile(Path(path))
        counter = _Counter()
        yield Source(path, counter.through(file.read()), lambda: counter.count, file.rows)
        return
    with _raw(path) as raw:
        size = None if path == STDIN else Path(path).stat().st_size
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if path.endswith(".gz") else raw
        name = "standard input" if path == STDIN else path
        yield Source(name, _rows(stream, kind, name, style), (lambda: 0) if path == STDIN else raw.tell, size)


def _rows(stream: BinaryIO, kind: str, name: str, style: CsvStyle) -> Iterator[Row]:
    if kind == "csv":
        return read_csv(stream, name, style)
    return read_lines(stream) if kind == "jsonl" else read_array(stream, name)


@contextmanager
def _raw(path: str) -> Iterator[BinaryIO]:
    if path == STDIN:
        yield sys.stdin.buffer
        return
    with Path(path).open("rb") as file:
        yield file


class _Counter:
    """Counts the rows that pass."""

    def __init__(self) -> None:
        self.count = 0

    def through(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Yield the rows."""
        for row in rows:
            self.count += 1
            yield row
