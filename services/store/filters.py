"""Filters: what a document must be, and the SQL over postings that finds those that are.

A filter becomes a condition on `documents AS d`. One part of it, the most selective, *drives*: `d.position IN
(SELECT document FROM postings ...)`; the others are tested on what that yields, each by a search of the postings'
primary key. Only a filter that has nothing but negations looks at every document.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.documents.codec import JsonValue
from services.documents.paths import ID, Path
from services.documents.values import Scalar, composite_key, order_key
from services.runtime.errors import DataApiError
from services.store.postings import ELEMENT, EXISTS, SIZE, VALUE

# --- the filter, typed ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Composite:
    """An array or object to compare with, whole."""

    value: JsonValue


Operand = Scalar | Composite


@dataclass(frozen=True, slots=True)
class AllOf:
    """All must match; of none, everything matches."""

    filters: "tuple[Filter, ...]" = ()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One must match; of none, nothing matches."""

    filters: "tuple[Filter, ...]" = ()


@dataclass(frozen=True, slots=True)
class Not:
    """Must not match: the exact complement."""

    filter: "Filter"


@dataclass(frozen=True, slots=True)
class In:
    """Equals one of the values; a scalar also equals an array that has it. `null_in_arrays`: null does too."""

    path: Path
    values: tuple[Operand, ...]
    null_in_arrays: bool = True


@dataclass(frozen=True, slots=True)
class Range:
    """Is a scalar of the bounds' type within them; each bound with whether it is itself within."""

    path: Path
    lower: tuple[Scalar, bool] | None = None
    upper: tuple[Scalar, bool] | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """Is present; null counts."""

    path: Path


@dataclass(frozen=True, slots=True)
class ContainsAll:
    """Is an array with every value among its elements; a scalar counts as an array of one."""

    path: Path
    values: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """Is an array of that many elements."""

    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class MatchesText:
    """Is text with all of these terms."""

    path: Path
    text: str


Filter = AllOf | AnyOf | Not | In | Range | Exists | ContainsAll | Size | MatchesText
EVERYTHING = AllOf()

# --- filters as SQL ---------------------------------------------------------

Binding = int | bytes


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL with its bindings."""

    text: str
    bindings: tuple[Binding, ...] = ()

    def joined(self, operator: str, others: "Sequence[Sql]") -> "Sql":
        """Return this and others, joined by an operator."""
        pieces = (self, *others)
        text = f" {operator} ".join(piece.text for piece in pieces)
        return Sql(text, tuple(binding for piece in pieces for binding in piece.bindings))


TRUE, FALSE = Sql("1"), Sql("0")

#: Columns of `documents` that the special paths stand for.
_SPECIAL_COLUMNS = {("$vector",): "d.vector", ("$vectorize",): "d.vectorize", ("$lexical",): "d.lexical"}


class FilterCompiler:
    """Makes SQL of filters for one collection.

    `path_number` gives a path's number in the index, None for a path that no document ever had. `estimate` gives
    how many postings a condition on them matches, counting no further than it is worth.
    """

    def __init__(self, path_number: Callable[[Path], int | None], estimate: Callable[[Sql], int]) -> None:
        self._path_number = path_number
        self._estimate = estimate

    def where(self, filter_: Filter) -> Sql:
        """Return the condition on `documents AS d` for a filter.

        Raises `DataApiError` `INTERNAL_SERVER_ERROR` for a search by words, which is not built in yet.
        """
        parts = list(filter_.filters) if isinstance(filter_, AllOf) else [filter_]
        sets = [(at, found) for at, part in enumerate(parts) if (found := self._set(part)) is not None]
        if not sets:
            return self._and([self._test(part) for part in parts])
        at, driver = sets[0] if len(sets) == 1 else min(sets, key=lambda item: self._estimate(item[1]))
        tests = [self._test(part) for number, part in enumerate(parts) if number != at]
        drive = Sql(f"d.position IN ({driver.text})", driver.bindings)
        return self._and([drive, *tests])

    def _set(self, filter_: Filter) -> Sql | None:
        """Return a query for the positions that match, where postings alone can answer it."""
        if isinstance(filter_, AnyOf) and filter_.filters:
            branches = [self._set(item) for item in filter_.filters]
            found = [branch for branch in branches if branch is not None]
            return found[0].joined("UNION", found[1:]) if len(found) == len(branches) else None
        if isinstance(filter_, ContainsAll) and len(filter_.values) == 1:
            return self._set_of_postings(filter_.path, self._contains_keys(filter_.values[0]))
        condition = self._on_postings(filter_)
        return None if condition is None else self._set_of_postings(*condition)

    def _test(self, filter_: Filter) -> Sql:
        """Return a condition on one document `d`."""
        if isinstance(filter_, AllOf):
            return self._and([self._test(item) for item in filter_.filters])
        if isinstance(filter_, AnyOf):
            if not filter_.filters:
                return FALSE
            tests = [self._test(item) for item in filter_.filters]
            joined = tests[0].joined("OR", tests[1:])
            return Sql(f"({joined.text})", joined.bindings)
        if isinstance(filter_, Not):
            inner = self._test(filter_.filter)
            return Sql(f"NOT ({inner.text})", inner.bindings)
        if isinstance(filter_, ContainsAll):
            keys = [self._contains_keys(value) for value in filter_.values]
            return self._and([self._test_of_postings(filter_.path, key) for key in keys])
        if isinstance(filter_, MatchesText):
            raise DataApiError("INTERNAL_SERVER_ERROR", problem="searching text by its words is not built in yet")
        if filter_.path == ID:
            return self._on_id(filter_)
        if isinstance(filter_, Exists) and filter_.path in _SPECIAL_COLUMNS:
            return Sql(f"{_SPECIAL_COLUMNS[filter_.path]} IS NOT NULL")
        condition = self._on_postings(filter_)
        return FALSE if condition is None else self._test_of_postings(*condition)

    # --- conditions on the keys of one path ---

    def _on_postings(self, filter_: Filter) -> tuple[Path, Sql] | None:
        """Return path and condition on `key` of a filter on one path; None for other filters."""
        if (
            not isinstance(filter_, In | Range | Exists | Size)
            or filter_.path == ID
            or filter_.path in _SPECIAL_COLUMNS
        ):
            return None
        if isinstance(filter_, In):
            keys = [key for value in filter_.values for key in _equal_keys(value, filter_.null_in_arrays)]
            return filter_.path, _keys(keys)
        if isinstance(filter_, Exists):
            return filter_.path, _keys([EXISTS])
        if isinstance(filter_, Size):
            return filter_.path, _keys([SIZE + order_key(filter_.size)])
        return filter_.path, _between(filter_, "key", VALUE)

    def _contains_keys(self, value: Operand) -> Sql:
        keys = [ELEMENT + _operand_key(value)]
        if not isinstance(value, Composite):
            keys.append(VALUE + _operand_key(value))
        return _keys(keys)

    def _set_of_postings(self, path: Path, condition: Sql) -> Sql:
        number = self._path_number(path)
        if number is None or condition is FALSE:
            return Sql("SELECT 0 WHERE 0")
        return Sql(
            f"SELECT document FROM postings WHERE path = ? AND {condition.text}",
            (number, *condition.bindings),
        )

    def _test_of_postings(self, path: Path, condition: Sql) -> Sql:
        number = self._path_number(path)
        if number is None or condition is FALSE:
            return FALSE
        return Sql(
            f"EXISTS (SELECT 1 FROM postings WHERE path = ? AND {condition.text} AND document = d.position)",
            (number, *condition.bindings),
        )

    # --- conditions on the id ---

    def _on_id(self, filter_: In | Range | Exists | Size) -> Sql:
        if isinstance(filter_, Exists):
            return TRUE
        if isinstance(filter_, Range):
            return _between(filter_, "d.id_key", b"")
        if isinstance(filter_, In):
            keys = [order_key(value) for value in filter_.values if not isinstance(value, Composite)]
            if not keys:
                return FALSE
            marks = ", ".join("?" * len(keys))
            return Sql(f"d.id_key IN ({marks})", tuple(keys))
        return FALSE

    def _and(self, parts: Sequence[Sql]) -> Sql:
        if any(part is FALSE for part in parts):
            return FALSE
        needed = [part for part in parts if part is not TRUE]
        return needed[0].joined("AND", needed[1:]) if needed else TRUE


def _operand_key(value: Operand) -> bytes:
    return composite_key(value.value) if isinstance(value, Composite) else order_key(value)


def _equal_keys(value: Operand, null_in_arrays: bool) -> list[bytes]:
    key = _operand_key(value)
    if isinstance(value, Composite) or (value is None and not null_in_arrays):
        return [VALUE + key]
    return [VALUE + key, ELEMENT + key]


def _keys(keys: Sequence[bytes]) -> Sql:
    if not keys:
        return FALSE
    if len(keys) == 1:
        return Sql("key = ?", (keys[0],))
    return Sql(f"key IN ({', '.join('?' * len(keys))})", tuple(keys))


def _between(range_: Range, column: str, kind: bytes) -> Sql:
    """Return the bounds of a range on a column of keys; a missing bound is the end of the type."""
    bound = range_.lower or range_.upper
    if bound is None:
        return FALSE
    tag = order_key(bound[0])[0]
    lower, lower_sign = kind + bytes([tag]), ">="
    upper, upper_sign = kind + bytes([tag + 1]), "<"
    if range_.lower is not None:
        lower, lower_sign = kind + order_key(range_.lower[0]), ">=" if range_.lower[1] else ">"
    if range_.upper is not None:
        upper, upper_sign = kind + order_key(range_.upper[0]), "<=" if range_.upper[1] else "<"
    return Sql(f"{column} {lower_sign} ? AND {column} {upper_sign} ?", (lower, upper))
