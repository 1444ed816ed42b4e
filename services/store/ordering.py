"""Sorting documents by the values at some paths, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.documents.codec import decode
from services.documents.paths import Missing, Path, value_at
from services.documents.values import value_key
from services.store.documents import Row

#: Sorts before every key: the path is missing.
_MISSING_KEY = b""


@dataclass(frozen=True, slots=True)
class SortField:
    """One field of an order."""

    path: Path
    descending: bool = False


@dataclass(frozen=True, slots=True)
class FieldOrder:
    """An order by fields, the first deciding; `max_candidates` documents or more are refused (0: any number)."""

    fields: tuple[SortField, ...]
    max_candidates: int = 0


def sort_rows(rows: Sequence[Row], fields: Sequence[SortField]) -> list[Row]:
    """Return documents in an order: missing < null < number < string < boolean < timestamp, ties by `_id`.

    Descending is the exact reverse, but ties stay ascending by `_id`.
    """
    keyed = [(row, _keys(row, fields)) for row in sorted(rows, key=lambda row: row.id_key)]
    # Stable sorts, the deciding field last.
    for at in reversed(range(len(fields))):
        keyed.sort(key=lambda item, at=at: item[1][at], reverse=fields[at].descending)  # type: ignore[misc]
    return [row for row, _ in keyed]


def _keys(row: Row, fields: Sequence[SortField]) -> list[bytes]:
    document = decode(row.record.json)
    keys = []
    for field in fields:
        value = value_at(document, field.path)
        keys.append(_MISSING_KEY if isinstance(value, Missing) else value_key(value))
    return keys
