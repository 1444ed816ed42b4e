"""Filters as algebra of bitmaps: and, or, not of the positions that each condition names.

A filter is answered by bitmaps when all of its conditions are held in memory. Otherwise loading them is weighed
against SQL (`services.store.filter_sql`), which is as good wherever an index leads to few documents, and where few
have to be passed over to fill a page.
"""

from collections.abc import Callable, Iterator

from pyroaring import BitMap64

from services.documents.indexing import Indexing
from services.documents.paths import ID, Path, format_path
from services.store.bitmaps import Bitmaps
from services.store.conditions import Condition, Keys, id_keys, keys_of
from services.store.filter_sql import FEW_ENOUGH, SPECIAL_COLUMNS
from services.store.filters import AllOf, AnyOf, Exists, Filter, In, MatchesText, Not, Range, Size, conjuncts

#: Documents that SQL tests one by one no slower than bitmaps are loaded.
_FEW = 1000

#: What `explain` says of a condition whose bitmap is held, and of one whose bitmap is not.
_STATES = ("IN MEMORY", "TO BE LOADED")

_Source = Callable[[Condition], BitMap64]


class _NotHeldError(Exception):
    """A condition's bitmap is not in memory."""


class FilterAlgebra:
    """Answers filters of one collection by bitmaps. Every call belongs in a transaction.

    `path_number` gives a path's number in the index, None for a path that no document ever had. Methods raise
    `FILTER_PATH_UNINDEXED` for a path that has no postings.
    """

    def __init__(self, indexing: Indexing, path_number: Callable[[Path], int | None], bitmaps: Bitmaps) -> None:
        self._indexing = indexing
        self._path_number = path_number
        self._bitmaps = bitmaps

    def matching(self, filter_: Filter, *, whole: bool) -> BitMap64 | None:
        """Return the positions that match, or None where SQL is the better way. The bitmap may not be changed.

        `whole` says that all of them are wanted, not the first few or whether there are so many.
        """
        if not self._possible(filter_):
            return None
        self._bitmaps.begin()
        held = self._evaluated_from_memory(filter_)
        if held is not None:
            return held
        return self._evaluated(filter_, self._of) if self._pays(filter_, whole=whole) else None

    def explain(self, filter_: Filter) -> list[str] | None:
        """Return how the positions of a page are found, a line for each condition; None where it is by SQL."""
        if not self._possible(filter_):
            return None
        self._bitmaps.begin()
        if self._evaluated_from_memory(filter_) is None and not self._pays(filter_, whole=False):
            return None
        states = [(condition, self._evaluated_from_memory(condition)) for condition in _conditions(filter_)]
        return [
            f"BITMAP {type(condition).__name__} {format_path(condition.path)} {_STATES[held is None]}"
            for condition, held in states
        ]

    def _possible(self, filter_: Filter) -> bool:
        """Tell whether postings, and ids, answer a filter, and no id that is named leads to the documents at once."""
        if any(isinstance(part, In) and part.path == ID for part in conjuncts(filter_)):
            return False
        return _only_postings(filter_)

    def _pays(self, filter_: Filter, *, whole: bool) -> bool:
        """Tell whether loading the bitmaps of a filter's conditions pays."""
        if _all_read(filter_):
            return True
        most = self._most(filter_)
        if most is not None:
            return most >= _FEW
        # Documents are looked at one after another, from where the page begins: soon full where few are passed over.
        return whole or any(self._size(condition) >= _FEW for condition in _conditions(filter_))

    def _most(self, filter_: Filter) -> int | None:
        """Return how many documents can match, `_FEW` standing for any more; None where no index tells."""
        if isinstance(filter_, AnyOf):
            sizes = [self._most(item) for item in filter_.filters]
            known = [size for size in sizes if size is not None]
            return sum(known) if len(known) == len(sizes) else None
        if isinstance(filter_, Not) or (isinstance(filter_, Exists) and filter_.path == ID):
            return None
        parts = conjuncts(filter_)
        if len(parts) == 1 and isinstance(parts[0], Condition):
            return self._size(parts[0])
        least = None
        for part in parts:
            size = self._most(part)
            if size is not None:
                least = size if least is None else min(least, size)
                if least <= FEW_ENOUGH:
                    break
        return least

    def _size(self, condition: Condition) -> int:
        if condition.path == ID:
            return self._bitmaps.count_ids(id_keys(condition), _FEW)
        keys, number = self._place(condition)
        return 0 if number is None else self._bitmaps.count(number, keys, _FEW)

    # --- evaluation ---

    def _evaluated_from_memory(self, filter_: Filter) -> BitMap64 | None:
        try:
            return self._evaluated(filter_, self._held)
        except _NotHeldError:
            return None

    def _evaluated(self, filter_: Filter, source: _Source) -> BitMap64:
        if isinstance(filter_, AnyOf):
            return BitMap64.union(BitMap64(), *(self._evaluated(item, source) for item in filter_.filters))
        parts = conjuncts(filter_)
        if len(parts) == 1 and isinstance(parts[0], Condition):
            return source(parts[0])
        wanted = [self._evaluated(part, source) for part in parts if not isinstance(part, Not)]
        unwanted = [self._evaluated(part.filter, source) for part in parts if isinstance(part, Not)]
        if not wanted:
            wanted = [source(Exists(ID))]
        wanted.sort(key=len)
        found = wanted[0]
        for bitmap in wanted[1:]:
            found = found & bitmap
        for bitmap in unwanted:
            found = found - bitmap
        return found

    def _held(self, condition: Condition) -> BitMap64:
        if condition.path != ID:
            keys, number = self._place(condition)
            held = BitMap64() if number is None else self._bitmaps.held(number, keys)
        elif isinstance(condition, Exists):
            held = self._bitmaps.held_documents()
        else:
            held = self._bitmaps.of_ids(id_keys(condition)) if isinstance(condition, In) else None
        if held is None:
            raise _NotHeldError
        return held

    def _of(self, condition: Condition) -> BitMap64:
        if condition.path != ID:
            keys, number = self._place(condition)
            return BitMap64() if number is None else self._bitmaps.of(number, keys)
        return self._bitmaps.documents() if isinstance(condition, Exists) else self._bitmaps.of_ids(id_keys(condition))

    def _place(self, condition: Condition) -> tuple[Keys, int | None]:
        """Return the keys of a condition's postings, and its path's number."""
        return keys_of(condition, self._indexing), self._path_number(condition.path)


def _all_read(filter_: Filter) -> bool:
    """Tell whether whatever answers a filter reads all the postings of its conditions."""
    if isinstance(filter_, AnyOf):
        return all(map(_all_read, filter_.filters))
    return isinstance(filter_, In | Range | Exists | Size) and filter_.path != ID


def _only_postings(filter_: Filter) -> bool:
    """Tell whether postings and ids are all that a filter asks for."""
    if isinstance(filter_, AllOf | AnyOf):
        return all(map(_only_postings, filter_.filters))
    if isinstance(filter_, Not):
        return _only_postings(filter_.filter)
    return not isinstance(filter_, MatchesText) and filter_.path not in SPECIAL_COLUMNS


def _conditions(filter_: Filter) -> Iterator[Condition]:
    """Yield the conditions on single paths that a filter is made of."""
    if isinstance(filter_, AllOf | AnyOf):
        for item in filter_.filters:
            yield from _conditions(item)
    elif isinstance(filter_, Not):
        yield from _conditions(filter_.filter)
    else:
        yield from (part for part in conjuncts(filter_) if isinstance(part, Condition))
