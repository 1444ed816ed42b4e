"""Rows of CSV: the first line names the fields; cells are text, or what they look like."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import BinaryIO

from services.documents.codec import JsonError, JsonObject, JsonValue, decode
from services.transfer.errors import TransferError
from services.transfer.sources.row import Row

#: A body's limit is the lower bound; the csv module's own of 128 KiB is less than a long text has.
_CELL_CHARACTERS = 32 * 1024 * 1024
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d{1,4})?")
_NUMBER_CHARACTERS = 100
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@dataclass(frozen=True, slots=True)
class CsvStyle:
    """How cells are read. With `infer`, numbers and booleans are told from text and an empty cell is no member.

    `text_fields` stay text whatever they look like; `json_fields` hold JSON; `json_cells` takes every cell that
    begins with a brace or bracket as JSON.
    """

    delimiter: str = ","
    infer: bool = True
    json_cells: bool = False
    text_fields: frozenset[str] = frozenset()
    json_fields: frozenset[str] = frozenset()


def read_csv(stream: BinaryIO, name: str, style: CsvStyle) -> Iterator[Row]:
    """Yield the object of each record; the header and empty lines are no rows.

    Raises `TransferError`, naming the line, for a header or bytes that cannot be read.
    """
    csv.field_size_limit(_CELL_CHARACTERS)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=style.delimiter, strict=True)
    try:
        header = next(reader, None)
        _check_header(header, name)
        assert header is not None
        readers = [_reader(field, style) for field in header]
        number = 0
        for cells in reader:
            if cells:
                number += 1
                yield _row(number, header, cells, readers)
    except UnicodeDecodeError as problem:
        raise TransferError(
            f"{name}, after line {reader.line_num}: it is not UTF-8 ({problem.reason}). Convert it, for example with "
            "`iconv -f WINDOWS-1252 -t UTF-8`"
        ) from None
    except csv.Error as problem:
        raise TransferError(f"{name}, line {reader.line_num}: it is not valid CSV: {problem}") from None
    finally:
        # The wrapper would close what whoever opened the file still asks for its position.
        if not stream.closed:
            text.detach()


def _check_header(header: list[str] | None, name: str) -> None:
    if not header:
        raise TransferError(f"{name} has no first line that names its fields")
    if "" in header:
        raise TransferError(f"{name}, line 1: column {header.index('') + 1} has no name; name it")
    twice = sorted({field for field in header if header.count(field) > 1})
    if twice:
        raise TransferError(f"{name}, line 1: more than one column is named {twice[0]!r}; name them apart")


def _row(number: int, header: list[str], cells: list[str], readers: list[Callable[[str], JsonValue]]) -> Row:
    if len(cells) != len(header):
        problem = f"the row has {len(cells)} cells where the header has {len(header)}"
        return Row.bad(number, list(cells), "ROW_WIDTH", problem)
    fields: JsonObject = {}
    for field, cell, read in zip(header, cells, readers, strict=True):
        try:
            value = read(cell)
        except JsonError as problem:
            given: JsonObject = dict(zip(header, cells, strict=True))
            return Row.bad(number, given, "CELL_NOT_JSON", f"the cell {field!r} is not valid JSON: {problem}")
        # None stands for an empty cell: CSV has no null.
        if value is not None:
            fields[field] = value
    return Row(number, fields)


def _reader(field: str, style: CsvStyle) -> Callable[[str], JsonValue]:
    if field in style.json_fields:
        return lambda cell: decode(cell.encode()) if cell.strip() else None
    base: Callable[[str], JsonValue] = str
    if style.infer:
        base = _text if field in style.text_fields else _inferred
    if style.json_cells and field not in style.text_fields:
        return lambda cell: _json_or(base, cell)
    return base


def _text(cell: str) -> JsonValue:
    return cell or None


def _inferred(cell: str) -> JsonValue:
    if not cell:
        return None
    if cell in _BOOLEANS:
        return _BOOLEANS[cell]
    match = _NUMBER.fullmatch(cell)
    # A leading zero is no number's: postal codes and the like stay text.
    if match is None or len(cell) > _NUMBER_CHARACTERS:
        return cell
    return int(cell) if match[1] is None and match[2] is None else Decimal(cell)


def _json_or(base: Callable[[str], JsonValue], cell: str) -> JsonValue:
    if cell.lstrip()[:1] in ("{", "["):
        try:
            return decode(cell.encode())
        except JsonError:
            return base(cell)
    return base(cell)
