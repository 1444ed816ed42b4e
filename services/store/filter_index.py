"""The filter index in memory: bitmaps of positions, kept in step with what is committed.

A *section* of the postings is those of one path with one key, or with a key in a range; its bitmap has the positions
of the documents they belong to. A bitmap is loaded by a reader, from what that reader's transaction sees, and from
then on every committed write brings it forward.

Every write has a number, its *sequence*, and a reader sees what was written up to some sequence. Three rules make a
bitmap exactly what the reader would find in the tables:

- A section is announced before it is loaded (`claim`), and only while no write is known here that the reader does
  not see. What is committed from then on is noted with it, so that none is missed while it is being loaded.
- What is noted is applied when somebody reads the section, up to what that reader sees and no further.
- A reader that sees more than has been noted here, or less than has been applied already, gets nothing and reads the
  tables.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pyroaring import BitMap64

DEFAULT_BUDGET = 64 << 20

#: What an entry takes beside its bitmap, each container of a bitmap beside its positions, and a position that is
#: noted with an entry, roughly, in bytes.
_ENTRY_BYTES = 600
_CONTAINER_BYTES = 32
_NOTE_BYTES = 150
#: A bitmap that takes more than this share of the budget would throw out too much that is small.
_LARGEST_SHARE = 0.5
#: An entry that nobody reads is brought forward when it has so many notes.
_MOST_NOTES = 2000


class Section(NamedTuple):
    """The postings of a path, by its number, with the key `first`; or with a key from `first` to before `end`."""

    path: int
    first: bytes
    end: bytes | None = None


#: Stands for all documents, whatever postings they have. No path has the number 0.
DOCUMENTS = Section(0, b"")


class Change(NamedTuple):
    """What a write did to one document: postings (path number, key, position) that are gone or new, and itself.

    `presence` is 1 for a document that is new, -1 for one that is gone, 0 for one that was there and stays.
    """

    position: int
    removed: Iterable[tuple[int, bytes, int]]
    added: Iterable[tuple[int, bytes, int]]
    presence: int = 0


@dataclass(slots=True)
class PostingChanges:
    """What one write did to the postings, under the write's sequence."""

    sequence: int
    truncated: bool = False
    documents: list[Change] = field(default_factory=list)


class Entry:
    """A section's place in the index: its bitmap as of a sequence, and what was committed after that.

    `bitmap` is None until it is loaded. A bitmap is never changed once others may have it.
    """

    __slots__ = ("bitmap", "notes", "section", "sequence", "size")

    def __init__(self, section: Section, sequence: int) -> None:
        self.section = section
        self.sequence = sequence
        self.bitmap: BitMap64 | None = None
        self.notes: list[tuple[int, int, bool]] = []
        self.size = _ENTRY_BYTES

    def forward(self, sequence: int) -> None:
        """Apply what is noted up to a sequence."""
        assert self.bitmap is not None
        latest = {position: present for noted, position, present in self.notes if self.sequence < noted <= sequence}
        self.notes = [note for note in self.notes if note[0] > sequence]
        self.sequence = sequence
        if latest:
            bitmap = self.bitmap.copy()
            bitmap.update([position for position, present in latest.items() if present])
            bitmap -= BitMap64([position for position, present in latest.items() if not present])
            self.bitmap = bitmap
        self.size = _size(self.bitmap) + _NOTE_BYTES * len(self.notes)


class _Path:
    """The entries of one path: by key, and those of ranges."""

    __slots__ = ("keys", "ranges")

    def __init__(self) -> None:
        self.keys: dict[bytes, Entry] = {}
        self.ranges: dict[Section, Entry] = {}


class FilterIndex:
    """The bitmaps of one collection, within a budget of bytes: those read longest ago are thrown out. Thread-safe."""

    def __init__(self, budget: int = DEFAULT_BUDGET) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._sequence = 0
        self._clear()

    def _clear(self) -> None:
        self._entries: OrderedDict[Section, Entry] = OrderedDict()
        self._paths: dict[int, _Path] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """How many bytes the entries take, roughly."""
        return self._size

    def start(self, sequence: int) -> None:
        """Forget everything and go on from the state after a sequence."""
        with self._lock:
            self._clear()
            self._sequence = sequence

    # --- for readers ---

    def get(self, section: Section, sequence: int) -> BitMap64 | None:
        """Return a section's bitmap as of a sequence, None where it is not held. It must not be changed."""
        with self._lock:
            entry = self._entries.get(section)
            if entry is None or entry.bitmap is None or not entry.sequence <= sequence <= self._sequence:
                return None
            self._entries.move_to_end(section)
            if entry.notes and entry.notes[0][0] <= sequence:
                self._forward(entry, sequence)
            return entry.bitmap

    def claim(self, section: Section, sequence: int) -> Entry | None:
        """Announce that a section will be loaded as of a sequence; None where it cannot be kept.

        `settle` or `abandon` has to follow.
        """
        with self._lock:
            if section in self._entries or self._sequence > sequence:
                return None
            entry = self._entries[section] = Entry(section, sequence)
            of_path = self._paths.setdefault(section.path, _Path())
            if section.end is None:
                of_path.keys[section.first] = entry
            else:
                of_path.ranges[section] = entry
            self._size += entry.size
            return entry

    def settle(self, entry: Entry, bitmap: BitMap64) -> None:
        """Keep the bitmap of a section that was claimed, unless it has been thrown out since. It is not copied."""
        with self._lock:
            if self._entries.get(entry.section) is entry:
                entry.bitmap = bitmap
                self._forward(entry, entry.sequence)
                if entry.size > self._budget * _LARGEST_SHARE:
                    self._drop(entry)
                self._shrink()

    def abandon(self, entries: Iterable[Entry]) -> None:
        """Give up sections that were claimed; those that were settled stay."""
        with self._lock:
            for entry in entries:
                if entry.bitmap is None and self._entries.get(entry.section) is entry:
                    self._drop(entry)

    # --- for the writer ---

    def apply(self, changes: PostingChanges) -> None:
        """Note what a committed write did; of all writes, in order."""
        with self._lock:
            if changes.truncated or changes.sequence != self._sequence + 1:
                # After a write that was not told of, what is held may be anything.
                self._clear()
            elif self._entries:
                full: dict[Section, Entry] = {}
                for change in changes.documents:
                    self._note(changes.sequence, change, full)
                for entry in full.values():
                    self._forward(entry, changes.sequence)
                self._shrink()
            self._sequence = changes.sequence

    def _note(self, sequence: int, change: Change, full: dict[Section, Entry]) -> None:
        def note(entry: Entry, present: bool) -> None:
            entry.notes.append((sequence, change.position, present))
            entry.size += _NOTE_BYTES
            self._size += _NOTE_BYTES
            if len(entry.notes) >= _MOST_NOTES and entry.bitmap is not None:
                full[entry.section] = entry

        if change.presence and (documents := self._entries.get(DOCUMENTS)) is not None:
            note(documents, change.presence > 0)
        # A value that moves within a range is removed first, then added.
        for postings, present in ((change.removed, False), (change.added, True)):
            for path, key, _ in postings:
                of_path = self._paths.get(path)
                if of_path is None:
                    continue
                if (entry := of_path.keys.get(key)) is not None:
                    note(entry, present)
                for section, entry in of_path.ranges.items():
                    if section.end is not None and section.first <= key < section.end:
                        note(entry, present)

    # --- details ---

    def _forward(self, entry: Entry, sequence: int) -> None:
        self._size -= entry.size
        entry.forward(sequence)
        self._size += entry.size

    def _shrink(self) -> None:
        while self._size > self._budget and self._entries:
            self._drop(next(iter(self._entries.values())))

    def _drop(self, entry: Entry) -> None:
        del self._entries[entry.section]
        of_path = self._paths[entry.section.path]
        if entry.section.end is None:
            del of_path.keys[entry.section.first]
        else:
            del of_path.ranges[entry.section]
        if not of_path.keys and not of_path.ranges:
            del self._paths[entry.section.path]
        self._size -= entry.size


def _size(bitmap: BitMap64) -> int:
    """Return how many bytes a bitmap and its entry take, roughly."""
    held = bitmap.get_statistics()
    positions = held["n_bytes_array_containers"] + held["n_bytes_run_containers"] + held["n_bytes_bitset_containers"]
    return _ENTRY_BYTES + _CONTAINER_BYTES * held["n_containers"] + positions
