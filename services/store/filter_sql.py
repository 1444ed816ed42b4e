"""Filters as SQL over postings.

A filter becomes a condition on `documents AS d`. One part of it, the most selective, *drives*: `d.position IN
(SELECT document FROM postings ...)`; the others are tested on what that yields, each by a search of an index. Only
a filter that has nothing but negations looks at every document.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.documents.indexing import Indexing
from services.documents.paths import ID, Path
from services.runtime.errors import DataApiError
from services.store.conditions import Condition, KeyRange, Keys, id_keys, keys_of
from services.store.filters import AllOf, AnyOf, ContainsAll, Exists, Filter, In, MatchesText, Not, Range, conjuncts

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

#: How far a condition's postings are counted to find the most selective one.
ESTIMATE_LIMIT = 1000
#: A condition with no more postings drives without a look at the others.
FEW_ENOUGH = 16
#: Columns of `documents` that the special paths stand for.
SPECIAL_COLUMNS = {("$vector",): "d.vector", ("$vectorize",): "d.vectorize", ("$lexical",): "d.lexical"}


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
        return self._plan(conjuncts(filter_))[0]

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
        at, driver = sets[0] if len(sets) == 1 else self._smallest(sets)
        tests = [self._test(part) for number, part in enumerate(parts) if number != at]
        return _and([Sql(f"d.position IN ({driver.text})", driver.bindings), *tests]), True

    def _smallest(self, sets: Sequence[tuple[int, Sql]]) -> tuple[int, Sql]:
        smallest, least = sets[0], ESTIMATE_LIMIT + 1
        for numbered in sets:
            size = self._estimate(numbered[1])
            if size < least:
                smallest, least = numbered, size
            if least <= FEW_ENOUGH:
                break
        return smallest

    def _set(self, filter_: Filter) -> Sql | None:
        """Return a query for the positions that match, maybe repeated; None where no index gives them."""
        parts = conjuncts(filter_)
        if len(parts) != 1:
            where, driven = self._plan(parts)
            return _positions_where(where) if driven else None
        part = parts[0]
        if isinstance(part, AnyOf) and part.filters:
            branches = [self._set(item) for item in part.filters]
            found = [branch for branch in branches if branch is not None]
            return found[0].joined("UNION ALL", found[1:]) if len(found) == len(branches) else None
        if isinstance(part, In | Range) and part.path == ID:
            return ids_of_keys(id_keys(part))
        keys = self._keys(part)
        return None if keys is None else self._set_of_postings(*keys)

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
            return _and([self._test(part) for part in conjuncts(filter_)])
        if isinstance(filter_, MatchesText):
            raise DataApiError("INTERNAL_SERVER_ERROR", problem="searching text by its words is not built in yet")
        if filter_.path == ID:
            return TRUE if isinstance(filter_, Exists) else _within("d.id_key", id_keys(filter_))
        if filter_.path in SPECIAL_COLUMNS:
            exists = isinstance(filter_, Exists)
            return Sql(f"{SPECIAL_COLUMNS[filter_.path]} IS NOT NULL") if exists else FALSE
        keys = self._keys(filter_)
        return FALSE if keys is None else self._test_of_postings(*keys)

    # --- conditions on one path ---

    def _keys(self, filter_: Filter) -> tuple[Path, Keys] | None:
        """Return path and keys of a condition that postings answer; None for other filters."""
        if not isinstance(filter_, Condition) or filter_.path == ID or filter_.path in SPECIAL_COLUMNS:
            return None
        return filter_.path, keys_of(filter_, self._indexing)

    def _set_of_postings(self, path: Path, keys: Keys) -> Sql:
        number = self._path_number(path)
        if number is None or not keys:
            return _NOTHING
        return postings_of_keys(number, keys)

    def _test_of_postings(self, path: Path, keys: Keys) -> Sql:
        number = self._path_number(path)
        if number is None or not keys:
            return FALSE
        # Known keys are found from the path on; a range of keys is found from the document on, which has one value
        # at a path, while the path may have any number of documents in the range.
        index = "INDEXED BY postings_by_document " if isinstance(keys, KeyRange) else ""
        condition = _within("key", keys)
        return Sql(
            f"EXISTS (SELECT 1 FROM postings {index}WHERE path = ? AND {condition.text} AND document = d.position)",
            (number, *condition.bindings),
        )


def postings_of_keys(path_number: int, keys: Keys) -> Sql:
    """Return a query for the documents that have a posting at a path, by its number, with one of some keys."""
    condition = _within("key", keys)
    return Sql(f"SELECT document FROM postings WHERE path = ? AND {condition.text}", (path_number, *condition.bindings))


def ids_of_keys(keys: Keys) -> Sql:
    """Return a query for the documents whose id is one of some keys."""
    return _positions_where(_within("d.id_key", keys))


def _positions_where(condition: Sql) -> Sql:
    return Sql(f"SELECT d.position AS document FROM documents AS d WHERE {condition.text}", condition.bindings)


def _and(parts: Sequence[Sql]) -> Sql:
    if any(part is FALSE for part in parts):
        return FALSE
    needed = [part for part in parts if part is not TRUE]
    return needed[0].joined("AND", needed[1:]) if needed else TRUE


def _within(column: str, keys: Keys) -> Sql:
    """Return the condition that a column has one of some keys."""
    if isinstance(keys, KeyRange):
        return Sql(f"{column} >= ? AND {column} < ?", (keys.first, keys.end))
    if not keys:
        return FALSE
    if len(keys) == 1:
        return Sql(f"{column} = ?", keys)
    return Sql(f"{column} IN ({', '.join('?' * len(keys))})", keys)
