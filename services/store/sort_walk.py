"""The first documents of an order, found by walking an index in that order instead of comparing them all.

A walk only narrows down: it returns positions that have the first ones among them, together with all that are tied
with the last of them on the field that was walked. What is left is compared by SQL (`services.store.ordering`).
"""

from collections.abc import Callable, Iterator, Sequence

import apsw
from pyroaring import BitMap64

from services.documents.paths import ID, Path
from services.store.bitmaps import Bitmaps
from services.store.conditions import ALL_VALUES, KeyRange
from services.store.ordering import SortField

#: Fewer documents are compared faster than any walk finds the first of them.
_FEW = 200
#: Steps of a walk that take as long as comparing one document.
_STEPS = 6
#: Steps with the same key after which that key's positions are taken all at once.
_SAME_KEY = 32


class SortWalk:
    """Walks the indexes of one collection. Every call belongs in a transaction, after `Bitmaps.begin`.

    `path_number` gives a path's number in the index, None for a path that no document ever had.
    """

    def __init__(
        self, connection: apsw.Connection, path_number: Callable[[Path], int | None], bitmaps: Bitmaps
    ) -> None:
        self._connection = connection
        self._path_number = path_number
        self._bitmaps = bitmaps

    def narrowed(
        self, members: BitMap64, fields: Sequence[SortField], wanted: int, within: KeyRange = ALL_VALUES
    ) -> BitMap64:
        """Return some of the members that have the first `wanted` among them; all of them where a walk does not pay.

        `within` is where all members have their values of the first field, where that is known.
        """
        if len(members) <= max(_FEW, wanted):
            return members
        if not fields or fields[0].path == ID:
            return self._by_id(members, wanted, descending=bool(fields) and fields[0].descending)
        field, *rest = fields
        number = self._path_number(field.path)
        if number is None:
            return self.narrowed(members, rest, wanted)
        having = self._bitmaps.of(number, ALL_VALUES)
        present = members & having
        missing = members - having
        if field.descending:
            if len(present) >= wanted:
                return self._by_key(number, present, fields, wanted, within, len(having))
            return present | self.narrowed(missing, rest, wanted - len(present))
        if len(missing) >= wanted:
            return self.narrowed(missing, rest, wanted)
        return missing | self._by_key(number, present, fields, wanted - len(missing), within, len(having))

    def _by_id(self, members: BitMap64, wanted: int, *, descending: bool) -> BitMap64:
        last = next(int(value or 0) for (value,) in self._connection.execute("SELECT max(position) FROM documents"))
        most = _STEPS * len(members)
        if wanted * last > most * len(members):
            return members
        direction = "DESC" if descending else "ASC"
        found = BitMap64()
        sql = f"SELECT position FROM documents ORDER BY id_key {direction} LIMIT ?"
        for (position,) in self._connection.execute(sql, (most,)):
            if position in members:
                found.add(position)
                if len(found) == wanted:
                    return found
        return found if len(found) == len(members) else members

    def _by_key(
        self, path: int, members: BitMap64, fields: Sequence[SortField], wanted: int, within: KeyRange, having: int
    ) -> BitMap64:
        """Walk the keys of a path, by its number, that all members have; `having` documents have it."""
        most = _STEPS * len(members)
        if len(members) <= max(_FEW, wanted) or (within == ALL_VALUES and wanted * having > most * len(members)):
            return members
        found = BitMap64()
        for group, steps in self._groups(path, members, fields[0].descending, within):
            needed = wanted - len(found)
            if len(group) >= needed:
                return found | self.narrowed(group, fields[1:], needed)
            found |= group
            most -= steps
            if most < 0:
                return members
        return members

    def _groups(
        self, path: int, members: BitMap64, descending: bool, within: KeyRange
    ) -> Iterator[tuple[BitMap64, int]]:
        """Yield the members with the same key, key after key, and how many steps it took to find them."""
        direction = "DESC" if descending else "ASC"
        sql = (
            "SELECT key, document FROM postings WHERE path = ? AND key >= ? AND key < ? "
            f"ORDER BY key {direction}, document {direction}"
        )
        first, end = within.first, within.end
        while True:
            current, group, steps = b"", BitMap64(), 0
            for key, document in self._connection.execute(sql, (path, first, end)):
                if key != current:
                    if steps:
                        yield group, steps
                    current, group, steps = key, BitMap64(), 0
                steps += 1
                if steps > _SAME_KEY:
                    break
                if document in members:
                    group.add(document)
            else:
                yield group, steps
                return
            yield members & self._bitmaps.of(path, (current,)), steps
            if descending:
                end = current
            else:
                first = current + b"\x00"
