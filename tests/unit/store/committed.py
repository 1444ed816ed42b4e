"""A collection's tables with the filter index in front, on one connection: small, fast, and readable in tests."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw
import pytest

from services.documents.codec import JsonObject, encode
from services.documents.indexing import EVERYTHING
from services.store import algebra, bitmaps, sort_walk
from services.store.documents import DocumentTables, create_tables
from services.store.filter_index import DEFAULT_BUDGET, FilterIndex
from services.store.postings import indexed_record
from services.store.records import Record


class Committed:
    """Documents that are written as a collection writes them, and `reader`, which has the index."""

    def __init__(self, contents: list[JsonObject] | None = None, budget: int = DEFAULT_BUDGET) -> None:
        self.connection = apsw.Connection(":memory:")
        create_tables(self.connection)
        self.writer = DocumentTables(self.connection, EVERYTHING)
        self.index = FilterIndex(budget)
        self.reader = DocumentTables(self.connection, EVERYTHING, self.index)
        self.insert(*(contents or []))

    def write(self, change: Callable[[], object]) -> None:
        """Make changes as one write."""
        with self.connection:
            self.writer.begin_write()
            change()
        self.index.apply(self.writer.changes)

    def insert(self, *contents: JsonObject) -> None:
        """Insert documents as one write."""
        records = [indexed_record(Record(encode(content)), EVERYTHING) for content in contents]
        self.write(lambda: [self.writer.insert(record) for record in records])

    def replace(self, position: int, content: JsonObject) -> None:
        """Replace the document in a place."""
        row = next(self.writer.at([position]), None)
        assert row is not None
        self.write(lambda: self.writer.replace(row, Record(encode(content))))

    def delete(self, position: int) -> None:
        """Delete the document in a place."""
        self.write(lambda: self.writer.delete(position))


@contextmanager
def bitmaps_always(same_key: int = 32) -> Iterator[None]:
    """Have everything answered by bitmaps and walks, and kept, however few documents there are.

    `same_key`: how many documents with the same key a walk looks at before it takes all of them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(algebra, "_FEW", 0)
        patch.setattr(bitmaps, "_WORTH_KEEPING", 0)
        patch.setattr(sort_walk, "_FEW", 0)
        patch.setattr(sort_walk, "_SAME_KEY", same_key)
        yield
