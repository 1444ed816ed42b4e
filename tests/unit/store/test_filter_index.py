"""The filter index in memory: exactly what a reader would find in the tables, or nothing."""

from pyroaring import BitMap64

from services.store import filter_index
from services.store.filter_index import DOCUMENTS, Change, FilterIndex, PostingChanges, Section

RED = Section(1, b"red")
A_TO_M = Section(2, b"a", b"m")


def index_with(section: Section, positions: list[int], *, sequence: int = 5) -> FilterIndex:
    index = FilterIndex()
    index.start(sequence)
    load(index, section, positions, sequence)
    return index


def load(index: FilterIndex, section: Section, positions: list[int], sequence: int) -> None:
    entry = index.claim(section, sequence)
    assert entry is not None
    index.settle(entry, BitMap64(positions))


def held(index: FilterIndex, section: Section, sequence: int) -> list[int] | None:
    bitmap = index.get(section, sequence)
    return None if bitmap is None else list(bitmap)


def added(sequence: int, position: int, path: int, key: bytes) -> PostingChanges:
    return PostingChanges(sequence, documents=[Change(position, [], [(path, key, position)], 1)])


def removed(sequence: int, position: int, path: int, key: bytes) -> PostingChanges:
    return PostingChanges(sequence, documents=[Change(position, [(path, key, position)], [], -1)])


# --- in step with writes ---


def test_what_was_loaded_is_held() -> None:
    assert held(index_with(RED, [1, 2]), RED, 5) == [1, 2]


def test_postings_come_and_go() -> None:
    index = index_with(RED, [1, 2])

    index.apply(added(6, 3, 1, b"red"))
    index.apply(removed(7, 1, 1, b"red"))
    index.apply(added(8, 4, 1, b"blue"))
    index.apply(added(9, 5, 2, b"red"))

    assert held(index, RED, 9) == [2, 3]


def test_a_posting_that_comes_back_is_there() -> None:
    index = index_with(RED, [1])

    index.apply(removed(6, 1, 1, b"red"))
    index.apply(added(7, 1, 1, b"red"))

    assert held(index, RED, 7) == [1]


def test_a_value_that_moves_within_a_range_stays_in_it() -> None:
    index = index_with(A_TO_M, [1, 2])

    stays = Change(1, [(2, b"b", 1)], [(2, b"c", 1)])
    leaves = Change(2, [(2, b"b", 2)], [(2, b"m", 2)])
    index.apply(PostingChanges(6, documents=[stays, leaves]))

    assert held(index, A_TO_M, 6) == [1]


def test_all_documents_are_those_that_came_and_did_not_go() -> None:
    index = index_with(DOCUMENTS, [1, 2])

    index.apply(PostingChanges(6, documents=[Change(3, [], [], 1), Change(1, [], [], -1), Change(2, [], [])]))

    assert held(index, DOCUMENTS, 6) == [2, 3]


def test_a_bitmap_that_somebody_has_never_changes() -> None:
    index = index_with(RED, [1])
    before = index.get(RED, 5)

    index.apply(added(6, 2, 1, b"red"))

    assert held(index, RED, 6) == [1, 2]
    assert before is not None
    assert list(before) == [1]


def test_many_writes_that_nobody_reads_do_not_pile_up() -> None:
    index = index_with(RED, [])
    before = index.size

    for sequence in range(6, 6 + 3 * filter_index._MOST_NOTES):
        index.apply(added(sequence, sequence, 1, b"red"))

    assert index.size < before + filter_index._MOST_NOTES * (filter_index._NOTE_BYTES + 8)
    assert len(held(index, RED, 5 + 3 * filter_index._MOST_NOTES) or []) == 3 * filter_index._MOST_NOTES


def test_truncation_empties_it() -> None:
    index = index_with(RED, [1])

    index.apply(PostingChanges(6, truncated=True))

    assert len(index) == index.size == 0
    assert held(index, RED, 6) is None
    load(index, RED, [], 6)
    assert held(index, RED, 6) == []


def test_after_a_write_it_was_not_told_of_nothing_is_trusted() -> None:
    index = index_with(RED, [1])

    index.apply(added(7, 2, 1, b"red"))

    assert held(index, RED, 7) is None
    load(index, RED, [1, 2, 3], 7)
    assert held(index, RED, 7) == [1, 2, 3]


# --- readers that see another state ---


def test_a_reader_that_began_before_a_write_does_not_see_it() -> None:
    index = index_with(RED, [1])

    index.apply(added(6, 2, 1, b"red"))

    assert held(index, RED, 5) == [1]
    assert held(index, RED, 6) == [1, 2]


def test_a_reader_that_others_have_overtaken_gets_nothing() -> None:
    index = index_with(RED, [1])
    index.apply(added(6, 2, 1, b"red"))
    held(index, RED, 6)

    assert held(index, RED, 5) is None


def test_a_reader_that_sees_a_write_that_is_not_noted_yet_gets_nothing() -> None:
    index = index_with(RED, [1])

    assert held(index, RED, 6) is None
    index.apply(added(6, 2, 1, b"red"))
    assert held(index, RED, 6) == [1, 2]


# --- loads that race with writes ---


def test_a_write_while_a_section_is_loaded_is_not_missed() -> None:
    index = index_with(DOCUMENTS, [])
    entry = index.claim(RED, 5)
    assert entry is not None

    index.apply(added(6, 2, 1, b"red"))
    assert held(index, RED, 6) is None
    index.settle(entry, BitMap64([1]))

    assert held(index, RED, 5) == [1]
    assert held(index, RED, 6) == [1, 2]


def test_a_write_that_the_loading_reader_sees_already_is_not_applied_again() -> None:
    index = index_with(DOCUMENTS, [])
    entry = index.claim(RED, 7)
    assert entry is not None

    index.apply(added(6, 2, 1, b"red"))
    index.apply(removed(7, 2, 1, b"red"))
    index.settle(entry, BitMap64([1]))

    assert held(index, RED, 7) == [1]


def test_a_reader_that_is_behind_cannot_have_its_load_kept() -> None:
    index = index_with(DOCUMENTS, [])
    index.apply(added(6, 2, 1, b"red"))

    assert index.claim(RED, 5) is None


def test_one_reader_at_a_time_loads_a_section() -> None:
    index = index_with(DOCUMENTS, [])
    entry = index.claim(RED, 5)
    assert entry is not None

    assert index.claim(RED, 5) is None
    index.abandon([entry])
    assert index.claim(RED, 5) is not None


def test_a_load_that_a_truncation_overtook_is_not_kept() -> None:
    index = index_with(DOCUMENTS, [])
    entry = index.claim(RED, 5)
    assert entry is not None

    index.apply(PostingChanges(6, truncated=True))
    index.settle(entry, BitMap64([1]))
    index.abandon([entry])

    assert len(index) == 0


def test_what_was_settled_is_not_abandoned() -> None:
    index = index_with(DOCUMENTS, [])
    entry = index.claim(RED, 5)
    assert entry is not None
    index.settle(entry, BitMap64([1]))

    index.abandon([entry])

    assert held(index, RED, 5) == [1]


# --- the budget ---


def test_what_was_read_longest_ago_is_thrown_out() -> None:
    index = FilterIndex(budget=5000)
    index.start(1)
    sections = [Section(1, bytes([number])) for number in range(20)]

    for section in sections:
        load(index, section, [1, 2, 3], 1)
        assert held(index, sections[0], 1) == [1, 2, 3]

    assert index.size <= 5000
    assert held(index, sections[1], 1) is None
    assert held(index, sections[-1], 1) == [1, 2, 3]


def test_a_bitmap_too_large_for_the_budget_throws_nothing_out() -> None:
    index = FilterIndex(budget=4000)
    index.start(1)
    load(index, RED, [1], 1)

    load(index, A_TO_M, list(range(0, 100_000, 3)), 1)

    assert held(index, A_TO_M, 1) is None
    assert held(index, RED, 1) == [1]


def test_without_a_budget_nothing_is_kept() -> None:
    index = FilterIndex(budget=0)
    index.start(1)

    load(index, RED, [1], 1)

    assert len(index) == index.size == 0


def test_what_is_noted_counts() -> None:
    index = FilterIndex(budget=20_000)
    index.start(1)
    load(index, RED, [], 1)

    documents = [Change(position, [], [(1, b"red", position)], 1) for position in range(1000)]
    index.apply(PostingChanges(2, documents=documents))

    assert index.size <= 20_000
    assert held(index, RED, 2) is None
