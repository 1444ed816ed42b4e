"""Rows of Parquet, by pyarrow, which is installed only where it is asked for."""

import base64
import datetime
import importlib
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import numpy as np

from services.documents.codec import JsonObject, JsonValue
from services.transfer.errors import TransferError, UsageError
from services.transfer.sources.row import Row

_ROWS_AT_A_TIME = 1000
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class ParquetFile:
    """An open Parquet file. Raises `UsageError` without pyarrow, `TransferError` for a file that is none."""

    def __init__(self, path: Path) -> None:
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise UsageError(
                f"{path} is Parquet, which needs pyarrow: install it with `pip install 'orrery[parquet]'`, or convert "
                "the file to CSV or JSON lines"
            ) from None
        try:
            self._file = parquet.ParquetFile(path)
        except (self._arrow.ArrowException, OSError) as problem:
            raise TransferError(f"{path} cannot be read as Parquet: {problem}") from None
        self.rows = int(self._file.metadata.num_rows)

    def read(self) -> Iterator[Row]:
        """Yield each row; a null is a member that is not there."""
        readers = [(field.name, self._reader(field.type)) for field in self._file.schema_arrow]
        number = 0
        for batch in self._file.iter_batches(batch_size=_ROWS_AT_A_TIME):
            for record in batch.to_pylist():
                number += 1
                yield _row(number, record, readers)

    def _reader(self, kind: Any) -> Callable[[Any], JsonValue]:
        """Return how a value of an Arrow type becomes JSON."""
        types = self._arrow.types
        if types.is_float32(kind) or types.is_float16(kind):
            # The shortest decimal of the number itself, not of its widening to 64 bits.
            narrow = np.float32 if types.is_float32(kind) else np.float16
            return _unless_null(lambda value: _number(value, str(narrow(value))))
        if types.is_float64(kind):
            return _unless_null(lambda value: _number(value, repr(value)))
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            item = self._reader(kind.value_type)
            return _unless_null(lambda values: [item(value) for value in values])
        if types.is_struct(kind):
            below = {field.name: self._reader(field.type) for field in kind}
            return _unless_null(lambda value: {name: read(value.get(name)) for name, read in below.items()})
        if types.is_map(kind):
            item = self._reader(kind.item_type)
            return _unless_null(lambda pairs: {str(key): item(value) for key, value in pairs})
        return _scalar


def _row(number: int, record: dict[str, Any], readers: list[tuple[str, Callable[[Any], JsonValue]]]) -> Row:
    fields: JsonObject = {}
    for name, read in readers:
        try:
            value = read(record.get(name))
        except ValueError as problem:
            shown: JsonObject = {key: str(item) for key, item in record.items() if item is not None}
            return Row.bad(number, shown, "CELL_NOT_JSON", f"the field {name!r} cannot be JSON: {problem}")
        if value is not None:
            fields[name] = value
    return Row(number, fields)


def _unless_null(read: Callable[[Any], JsonValue]) -> Callable[[Any], JsonValue]:
    return lambda value: None if value is None else read(value)


def _number(value: float, text: str) -> JsonValue:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number")
    return Decimal(text)


def _scalar(value: Any) -> JsonValue:
    """Return a value that JSON has, or its extended form; anything else by its text."""
    if value is None or isinstance(value, bool | int | str | Decimal):
        return cast("JsonValue", value)
    if isinstance(value, datetime.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return {"$date": (moment - _EPOCH) // datetime.timedelta(milliseconds=1)}
    if isinstance(value, datetime.date):
        return {"$date": (value - _EPOCH.date()).days * 86_400_000}
    if isinstance(value, bytes):
        return {"$binary": base64.b64encode(value).decode()}
    return str(value)
