"""Filters: what a document must be, and the SQL over postings that finds those that are.

A filter becomes a condition on `documents AS d`. One part of it, the most selective, *drives*: `d.position IN
(SELECT document FROM postings ...)`; the others are tested on what that yields, each by a search of an index. Only
a filter that has nothing but negations looks at every document.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.documents.codec import JsonValue
from services.documents.indexing import Indexing
from services.documents.paths import ID, Path, format_path
from services.documents.values import Scalar, composite_key, order_key
from services.runtime.errors import DataApiError
from services.store.postings import ELEMENT, SIZE, VALUE, next_kind

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
    """Is an array with every value (at least one) among its elements; a scalar counts as an array of one."""

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
_NOTHING = Sql("SELECT 0 WHERE 0")

#: Columns of `documents` that the special paths stand for.
_SPECIAL_COLUMNS = {("$vector",): "d.vector", ("$vectorize",): "d.vectorize", ("$lexical",): "d.lexical"}


class FilterCompiler:
    """Makes SQL of filters for one collection.

    `path_number` gives a path's number in the index, None for a path that no document ever had. `estimate` gives
    how many positions a query yields, counting no further than it is worth.

    What its methods return raises `FILTER_PATH_UNINDEXED` for a path that has no postings, and
    `INTERNAL_SERVER_ERROR` for a search by words, which is not built in yet.
    """

    def __init__(
        self, indexing: Indexing, path_number: Callable[[Path], int | None], estimate: Callable[[Sql], int]
    ) -> None:
        self._indexing = indexing
        self._path_number = path_number
        self._estimate = estimate

    def where(self, filter_: Filter) -> Sql:
        """Return the condition on `documents AS d` for a filter."""
        return self._plan(_conjuncts(filter_))[0]

    def positions(self, filter_: Filter) -> Sql:
        """Return a query for the positions that match, in any order, maybe repeated."""
        return self._set(filter_) or _positions_where(self.where(filter_))

    def _plan(self, parts: "Sequence[Filter]") -> tuple[Sql, bool]:
        """Return the condition that all parts match, and whether an index drives it."""
        if any(isinstance(part, In) and part.path == ID for part in parts):
            return _and([self._test(part) for part in parts]), True
        sets = [(at, found) for at, part in enumerate(parts) if (found := self._set(part)) is not None]
        if not sets:
            return _and([self._test(part) for part in parts]), False
        at, driver = sets[0] if len(sets) == 1 else min(sets, key=lambda item: self._estimate(item[1]))
        tests = [self._test(part) for number, part in enumerate(parts) if number != at]
        return _and([Sql(f"d.position IN ({driver.text})", driver.bindings), *tests]), True

    def _set(self, filter_: Filter) -> Sql | None:
        """Return a query for the positions that match, maybe repeated; None where no index gives them."""
        parts = _conjuncts(filter_)
        if len(parts) != 1:
            where, driven = self._plan(parts)
            return _positions_where(where) if driven else None
        part = parts[0]
        if isinstance(part, AnyOf) and part.filters:
            branches = [self._set(item) for item in part.filters]
            found = [branch for branch in branches if branch is not None]
            return found[0].joined("UNION ALL", found[1:]) if len(found) == len(branches) else None
        if isinstance(part, In | Range) and part.path == ID:
            return _positions_where(self._on_id(part))
        condition = self._on_postings(part)
        return None if condition is None else self._set_of_postings(*condition)

    def _test(self, filter_: Filter) -> Sql:
        """Return a condition on one document `d`."""
        if isinstance(filter_, AllOf):
            return _and([self._test(item) for item in filter_.filters])
        if isinstance(filter_, AnyOf):
            if not filter_.filters:
                return FALSE
            tests = [self._test(item) for item in filter_.filters]
            joined = tests[0].joined("OR", tests[1:])
            return Sql(f"({joined.text})", joined.bindings)
        if isinstance(filter_, Not):
            inner = self._test(filter_.filter)
            return Sql(f"NOT ({inner.text})", inner.bindings)
        if isinstance(filter_, ContainsAll) and len(filter_.values) != 1:
            return _and([self._test(part) for part in _conjuncts(filter_)])
        if isinstance(filter_, MatchesText):
            raise DataApiError("INTERNAL_SERVER_ERROR", problem="searching text by its words is not built in yet")
        if filter_.path == ID:
            return self._on_id(filter_)
        if filter_.path in _SPECIAL_COLUMNS:
            exists = isinstance(filter_, Exists)
            return Sql(f"{_SPECIAL_COLUMNS[filter_.path]} IS NOT NULL") if exists else FALSE
        condition = self._on_postings(filter_)
        return FALSE if condition is None else self._test_of_postings(*condition)

    # --- conditions on the keys of one path ---

    def _on_postings(self, filter_: Filter) -> "tuple[Path, _Keys] | None":
        """Return path and condition on `key` of a filter on one path; None for other filters."""
        if not isinstance(filter_, In | Range | Exists | Size | ContainsAll):
            return None
        path = filter_.path
        if path == ID or path in _SPECIAL_COLUMNS:
            return None
        if not self._indexing.includes(path):
            raise DataApiError("FILTER_PATH_UNINDEXED", path=format_path(path))
        if isinstance(filter_, Exists):
            return path, _Keys(Sql("key >= ? AND key < ?", (VALUE, next_kind(VALUE))), exact=False)
        if isinstance(filter_, Range):
            return path, _Keys(_between(filter_, "key", VALUE), exact=False)
        if isinstance(filter_, In):
            keys = [key for value in filter_.values for key in _equal_keys(value, filter_.null_in_arrays)]
        elif isinstance(filter_, Size):
            keys = [SIZE + order_key(filter_.size)]
        else:
            keys = _contains_keys(filter_.values[0])
        return path, _Keys(_one_of("key", keys), exact=True)

    def _set_of_postings(self, path: Path, keys: "_Keys") -> Sql:
        number = self._path_number(path)
        if number is None or keys.condition is FALSE:
            return _NOTHING
        return Sql(
            f"SELECT document FROM postings WHERE path = ? AND {keys.condition.text}",
            (number, *keys.condition.bindings),
        )

    def _test_of_postings(self, path: Path, keys: "_Keys") -> Sql:
        number = self._path_number(path)
        if number is None or keys.condition is FALSE:
            return FALSE
        # Known keys are found from the path on; a range of keys is found from the document on, which has one value
        # at a path, while the path may have any number of documents in the range.
        index = "" if keys.exact else "INDEXED BY postings_by_document "
        return Sql(
            f"EXISTS (SELECT 1 FROM postings {index}"
            f"WHERE path = ? AND {keys.condition.text} AND document = d.position)",
            (number, *keys.condition.bindings),
        )

    # --- conditions on the id ---

    def _on_id(self, filter_: In | Range | Exists | Size | ContainsAll) -> Sql:
        if isinstance(filter_, Exists):
            return TRUE
        if isinstance(filter_, Range):
            return _between(filter_, "d.id_key", b"")
        if isinstance(filter_, Size):
            return FALSE
        return _one_of("d.id_key", [order_key(value) for value in filter_.values if not isinstance(value, Composite)])


@dataclass(frozen=True, slots=True)
class _Keys:
    """A condition on the keys of a path's postings; `exact` when it names them."""

    condition: Sql
    exact: bool


def _conjuncts(filter_: Filter) -> "tuple[Filter, ...]":
    """Return the parts of a filter that must all match, none of them an `AllOf`."""
    if isinstance(filter_, AllOf):
        return tuple(part for item in filter_.filters for part in _conjuncts(item))
    if isinstance(filter_, ContainsAll) and len(filter_.values) != 1:
        return tuple(ContainsAll(filter_.path, (value,)) for value in filter_.values)
    return (filter_,)


def _positions_where(condition: Sql) -> Sql:
    return Sql(f"SELECT d.position FROM documents AS d WHERE {condition.text}", condition.bindings)


def _and(parts: Sequence[Sql]) -> Sql:
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


def _contains_keys(value: Operand) -> list[bytes]:
    key = _operand_key(value)
    return [ELEMENT + key] if isinstance(value, Composite) else [ELEMENT + key, VALUE + key]


def _one_of(column: str, keys: Sequence[bytes]) -> Sql:
    if not keys:
        return FALSE
    if len(keys) == 1:
        return Sql(f"{column} = ?", (keys[0],))
    return Sql(f"{column} IN ({', '.join('?' * len(keys))})", tuple(keys))


def _between(range_: Range, column: str, kind: bytes) -> Sql:
    """Return the bounds of a range on a column of keys; a missing bound is the end of the type."""
    tags = {order_key(bound[0])[0] for bound in (range_.lower, range_.upper) if bound is not None}
    if len(tags) != 1:
        return FALSE
    (tag,) = tags
    lower, lower_sign = kind + bytes([tag]), ">="
    upper, upper_sign = kind + bytes([tag + 1]), "<"
    if range_.lower is not None:
        lower, lower_sign = kind + order_key(range_.lower[0]), ">=" if range_.lower[1] else ">"
    if range_.upper is not None:
        upper, upper_sign = kind + order_key(range_.upper[0]), "<=" if range_.upper[1] else "<"
    return Sql(f"{column} {lower_sign} ? AND {column} {upper_sign} ?", (lower, upper))
