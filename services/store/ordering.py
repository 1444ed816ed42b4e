"""Sorting documents by the values at some paths, as SQL over their postings.

Order keys compare as values do (`services.documents.values`), and a missing one is NULL, which SQLite sorts before
everything: so the order of the keys is the Data API's order of types and values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.documents.indexing import Indexing
from services.documents.paths import ID, Path, format_path
from services.runtime.errors import DataApiError
from services.store.filter_sql import Sql
from services.store.postings import VALUE, next_kind


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


def order_terms(fields: Sequence[SortField], indexing: Indexing, path_number: Callable[[Path], int | None]) -> Sql:
    """Return what comes after ORDER BY for documents `d`: missing < null < number < string < boolean < timestamp.

    Descending is the exact reverse; ties go by `_id`, ascending in either case.

    Raises `SORT_CLAUSE_PATH_UNINDEXED` for a path that has no postings.
    """
    terms = [_term(field, indexing, path_number) for field in fields]
    last = Sql("d.id_key ASC")
    return terms[0].joined(",", [*terms[1:], last]) if terms else last


def _term(field: SortField, indexing: Indexing, path_number: Callable[[Path], int | None]) -> Sql:
    direction = "DESC" if field.descending else "ASC"
    if field.path == ID:
        return Sql(f"d.id_key {direction}")
    if not indexing.includes(field.path):
        raise DataApiError("SORT_CLAUSE_PATH_UNINDEXED", path=format_path(field.path))
    number = path_number(field.path)
    if number is None:
        return Sql("NULL")
    key = (
        "SELECT key FROM postings INDEXED BY postings_by_document "
        "WHERE document = d.position AND path = ? AND key >= ? AND key < ?"
    )
    return Sql(f"({key}) {direction}", (number, VALUE, next_kind(VALUE)))
