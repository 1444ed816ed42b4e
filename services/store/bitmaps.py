"""Bitmaps of the positions that postings name, as one reading transaction sees them: held in memory, or loaded."""

from array import array
from collections.abc import Sequence

import apsw
import numpy as np
from pyroaring import BitMap64

from services.store.conditions import KeyRange, Keys
from services.store.filter_index import DOCUMENTS, Entry, FilterIndex, Section
from services.store.filter_sql import Sql, ids_of_keys, postings_of_keys
from services.store.vectors.places import Positions

#: Fewer positions are read again as fast as they are kept in step.
_WORTH_KEEPING = 256
#: Keys of one condition that are kept however few positions they have, once all of them together are worth it.
_COMPANIONS = 4
#: Keys of one condition that are considered for keeping.
_MOST_CLAIMED = 100


class Bitmaps:
    """What one connection reads of the postings, in memory or from the tables.

    Reads belong in a transaction, and `begin` comes before them. No bitmap returned may be changed.
    """

    def __init__(self, connection: apsw.Connection, index: FilterIndex) -> None:
        self._connection = connection
        self._index = index
        self._sequence = 0

    def begin(self) -> None:
        """Find out which writes the transaction sees."""
        self._sequence = self._number("SELECT sequence FROM writes")

    def held(self, path: int, keys: Keys) -> BitMap64 | None:
        """Return the positions that have one of some keys at a path, by its number; None where that is not held."""
        bitmaps = []
        for section in _sections(path, keys):
            bitmap = self._index.get(section, self._sequence)
            if bitmap is None:
                return None
            bitmaps.append(bitmap)
        return _union(bitmaps)

    def of(self, path: int, keys: Keys) -> BitMap64:
        """Return the positions that have one of some keys at a path, by its number."""
        found = {section: self._index.get(section, self._sequence) for section in _sections(path, keys)}
        bitmaps = [bitmap for bitmap in found.values() if bitmap is not None]
        missing = [section for section, bitmap in found.items() if bitmap is None]
        return _union([*bitmaps, *self._loaded(path, missing)])

    def held_documents(self) -> BitMap64 | None:
        """Return the positions of all documents; None where that is not held."""
        return self._index.get(DOCUMENTS, self._sequence)

    def documents(self) -> BitMap64:
        """Return the positions of all documents."""
        held = self.held_documents()
        return self._loaded(DOCUMENTS.path, [DOCUMENTS])[0] if held is None else held

    def of_ids(self, keys: Keys) -> BitMap64:
        """Return the positions of the documents whose id is one of some keys. It is never held."""
        return self._read(ids_of_keys(keys))

    def count(self, path: int, keys: Keys, limit: int) -> int:
        """Return how many positions have one of some keys at a path, at least; from the tables no more than a limit."""
        held = self.held(path, keys)
        return self._count(postings_of_keys(path, keys), limit) if held is None else len(held)

    def count_ids(self, keys: Keys, limit: int) -> int:
        """Return how many documents have one of some ids, no more than a limit."""
        return self._count(ids_of_keys(keys), limit)

    def _loaded(self, path: int, sections: Sequence[Section]) -> list[BitMap64]:
        """Return the bitmaps of sections of one path; keep those that are worth it."""
        claimed: dict[Section, Entry] = {}
        try:
            # Announced before they are read, so that no write is missed in between.
            for section in sections[:_MOST_CLAIMED]:
                if (entry := self._index.claim(section, self._sequence)) is not None:
                    claimed[section] = entry
            bitmaps = self._read_sections(path, sections)
            if sum(map(len, bitmaps.values())) >= _WORTH_KEEPING:
                few = len(sections) <= _COMPANIONS
                for section, entry in claimed.items():
                    if few or len(bitmaps[section]) >= _WORTH_KEEPING:
                        self._index.settle(entry, bitmaps[section])
        finally:
            self._index.abandon(claimed.values())
        return list(bitmaps.values())

    def _read_sections(self, path: int, sections: Sequence[Section]) -> dict[Section, BitMap64]:
        if not sections:
            return {}
        if sections[0] == DOCUMENTS:
            return {DOCUMENTS: self._read(Sql("SELECT position AS document FROM documents"))}
        if (end := sections[0].end) is not None:
            (section,) = sections
            return {section: self._read(postings_of_keys(path, KeyRange(section.first, end)))}
        if len(sections) <= _COMPANIONS:
            return {section: self._read(postings_of_keys(path, (section.first,))) for section in sections}
        marks = ", ".join("?" * len(sections))
        sql = f"SELECT key, group_concat(document) FROM postings WHERE path = ? AND key IN ({marks}) GROUP BY key"
        rows = self._connection.execute(sql, (path, *(section.first for section in sections)))
        found = {bytes(key): _bitmap(str(text)) for key, text in rows}
        return {section: found.get(section.first) or BitMap64() for section in sections}

    def _read(self, query: Sql) -> BitMap64:
        # One text of all numbers is read several times as fast as a row for each, and without holding up other threads.
        rows = self._connection.execute(f"SELECT group_concat(document) FROM ({query.text})", query.bindings)
        text = next(text for (text,) in rows)
        return BitMap64() if text is None else _bitmap(str(text))

    def _count(self, query: Sql, limit: int) -> int:
        # A limit that is bound would have SQLite plan anew each time.
        return self._number(f"SELECT count(*) FROM (SELECT 1 FROM ({query.text}) LIMIT {limit})", query.bindings)

    def _number(self, sql: str, bindings: Sequence[int | bytes] = ()) -> int:
        return next(int(value) for (value,) in self._connection.execute(sql, bindings))


def positions_of(bitmap: BitMap64) -> Positions:
    """Return the positions int64[n] in a bitmap, ascending."""
    return np.frombuffer(bitmap.to_array(), np.int64) if bitmap else np.empty(0, np.int64)


def _sections(path: int, keys: Keys) -> list[Section]:
    if isinstance(keys, KeyRange):
        return [Section(path, keys.first, keys.end)]
    return [Section(path, key) for key in keys]


def _union(bitmaps: Sequence[BitMap64]) -> BitMap64:
    filled = [bitmap for bitmap in bitmaps if bitmap]
    if len(filled) == 1:
        return filled[0]
    return BitMap64.union(*filled) if filled else BitMap64()


def _bitmap(numbers: str) -> BitMap64:
    """Return the bitmap of numbers with commas between them."""
    return BitMap64(array("Q", np.fromstring(numbers, np.uint64, sep=",").tobytes()))
