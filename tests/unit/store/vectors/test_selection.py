"""The positions that searches are narrowed to: where a graph has them, and what is remembered of filters."""

import numpy as np
import pytest

from services.store.settings import IndexSettings
from services.store.vectors.graph import GraphIndex
from services.store.vectors.places import Positions
from services.store.vectors.selection import Selected, Selections
from services.store.vectors.similarity import Metric


def graph_of(*positions: int) -> GraphIndex:
    graph = GraphIndex(4, Metric.DOT_PRODUCT, IndexSettings())
    add(graph, *positions)
    return graph


def add(graph: GraphIndex, *positions: int) -> None:
    graph.add(np.ones((len(positions), 4), np.float32), 1)
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
