"""The positions that searches are narrowed to: where a graph has them, and what is remembered of filters."""

import numpy as np
import pytest

from services.store.settings import IndexSettings
from services.store.vectors.graph import GraphIndex
from services.store.vectors.places import Positions
from services.store.vectors.selection import Copies, Selected, Selections
from services.store.vectors.similarity import Metric


def graph_of(*positions: int) -> GraphIndex:
    graph = GraphIndex(4, Metric.DOT_PRODUCT, IndexSettings())
    add(graph, *positions)
    return graph


def add(graph: GraphIndex, *positions: int) -> None:
    graph.add(np.array(positions, np.float32)[:, np.newaxis].repeat(4, axis=1), 1)
    graph.take(np.array(positions), np.ones(len(positions), np.bool_))


def some(*positions: int) -> Positions:
    return np.array(positions, np.int64)


def set_bits(selected: Selected, graph: GraphIndex) -> list[int]:
    return np.flatnonzero(np.unpackbits(selected.bits_in(graph), bitorder="little")).tolist()


def test_slots_come_in_the_order_of_memory_and_without_what_the_graph_does_not_have() -> None:
    graph = graph_of(9, 3, 7, 5)
    selected = Selected(some(3, 4, 5, 9))

    assert selected.slots_in(graph).tolist() == [0, 1, 3]
    assert set_bits(selected, graph) == [0, 1, 3]


def test_what_was_worked_out_follows_the_graph() -> None:
    graph = graph_of(9, 3, 7, 5)
    selected = Selected(some(3, 5, 8))
    assert set_bits(selected, graph) == [1, 3]

    graph.remove(some(5))
    assert set_bits(selected, graph) == [1]
    add(graph, 8)
    assert set_bits(selected, graph) == [1, 4]
    assert selected.slots_in(graph_of(8)).tolist() == [0]


def test_positions_are_looked_up() -> None:
    held = Selected(some(2, 4, 6)).holds(some(6, 1, 2, 7))

    assert held.tolist() == [True, False, True, False]
    assert Selected(some()).holds(some(1, 2)).tolist() == [False, False]


def test_a_filter_is_asked_once_as_of_a_write() -> None:
    filters, asked = ["first", "second"], []

    def select() -> Positions:
        asked.append(1)
        return some(1, 2)

    selections = Selections(1_000)
    found = [selections.get(filters[at], 7, select) for at in (0, 1, 0, 1)]

    assert len(asked) == 2
    assert found[0] is found[2]
    assert found[1] is found[3]


@pytest.mark.parametrize(("known", "asked_as_of"), [(7, 8), (8, 7)])
def test_a_reader_is_told_nothing_of_another_write(known: int, asked_as_of: int) -> None:
    selections, filter_ = Selections(1_000), "filter"
    selections.get(filter_, known, lambda: some(1))

    assert selections.get(filter_, asked_as_of, lambda: some(2)).positions.tolist() == [2]
    # A reader that sees less than is known does not make others forget it.
    assert selections.get(filter_, 8, lambda: some(3)).positions.tolist() == [1 if known == 8 else 2]


def test_what_was_read_longest_ago_makes_room() -> None:
    filters = ["first", "second", "third"]
    selections = Selections(5 * Selected(some(1)).memory_bytes // 2)
    for at in (0, 1, 0, 2):
        selections.get(filters[at], 1, lambda: some(1))

    assert selections.size == 2 * Selected(some(1)).memory_bytes
    assert selections.get(filters[0], 1, lambda: some(9)).positions.tolist() == [1]
    assert selections.get(filters[1], 1, lambda: some(9)).positions.tolist() == [9]


def test_what_is_larger_than_all_the_room_is_not_kept() -> None:
    selections = Selections(8)

    assert len(selections.get("all", 1, lambda: np.arange(100))) == 100
    assert selections.size == 0


def test_vectors_are_copied_once_enough_queries_asked_for_them() -> None:
    graph = graph_of(9, 3, 7, 5)
    selected = Selected(some(3, 5, 8), Copies(1_000))

    assert [selected.copied_in(graph, 4) is None for _ in range(3)] == [True, True, False]
    copy = selected.copied_in(graph, 1)
    assert copy is not None
    assert copy.tolist() == [[3, 3, 3, 3], [5, 5, 5, 5]]
    assert selected.copied_in(graph, 1) is copy


def test_a_copy_follows_the_graph() -> None:
    graph = graph_of(9, 3, 7, 5)
    selected = Selected(some(3, 5, 8), Copies(1_000))
    assert selected.copied_in(graph, 9) is not None

    add(graph, 8)

    assert selected.copied_in(graph, 1) is None
    copy = selected.copied_in(graph, 9)
    assert copy is not None
    assert copy[:, 0].tolist() == [3, 5, 8]


def test_the_copy_that_was_read_longest_ago_makes_room() -> None:
    graph, copies = graph_of(1, 2, 3), Copies(2 * 16)
    selections = [Selected(some(at), copies) for at in (1, 2, 3)]

    for at in (0, 1, 0, 2):
        assert selections[at].copied_in(graph, 9) is not None

    assert copies.size == 2 * 16
    assert [selected.copied_in(graph, 1) is None for selected in selections] == [False, True, False]


@pytest.mark.parametrize("copies", [None, Copies(31), Copies(1_000, lambda size: size < 32)])
def test_without_room_nothing_is_copied(copies: Copies | None) -> None:
    assert Selected(some(1, 2), copies).copied_in(graph_of(1, 2), 100) is None


def test_a_copy_lasts_as_long_as_its_selection() -> None:
    graph, copies = graph_of(1, 2), Copies(1_000)
    selections = Selections(1_000, copies)
    assert selections.get("filter", 1, lambda: some(1)).copied_in(graph, 9) is not None
    assert selections.size == Selected(some(1)).memory_bytes + 16

    selections.get("filter", 2, lambda: some(2))

    assert copies.size == 0
