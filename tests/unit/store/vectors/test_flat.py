"""Exact search: what it finds is what a comparison of every vector in float64 finds."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.store.vectors.flat import FlatIndex
from services.store.vectors.similarity import Metric, prepare

METRICS = st.sampled_from(list(Metric))
SMALL = st.lists(st.integers(-2, 2), min_size=3, max_size=3).map(lambda row: [*row, 1])


def brute_force(vectors: dict[int, Any], query: Any, metric: Metric) -> list[tuple[int, float]]:
    """Return positions and similarities, nearest first, ties by position."""
    scored = []
    for position, vector in vectors.items():
        row, wanted = (
            prepare(np.array([values], np.float32), metric)[0].astype(np.float64) for values in (vector, query)
        )
        if metric is Metric.EUCLIDEAN:
            score = -float(np.square(row - wanted).sum())
            scored.append((-score, position, 1 / (1 - score)))
        else:
            score = float((row * wanted).sum())
            worth = min(max(score, -1.0), 1.0) if metric is Metric.COSINE else score
            scored.append((-score, position, (1 + worth) / 2))
    return [(position, similar) for _, position, similar in sorted(scored)]


def put(index: FlatIndex, vectors: dict[int, Any]) -> None:
    index.put(np.array(list(vectors), np.int64), np.array(list(vectors.values()), np.float32))


@settings(max_examples=200, deadline=None)
@given(
    vectors=st.dictionaries(st.integers(1, 500), SMALL, max_size=60),
    query=SMALL,
    limit=st.integers(1, 70),
    chosen=st.none() | st.sets(st.integers(1, 500), max_size=60),
    metric=METRICS,
)
def test_finds_what_brute_force_finds_ties_and_all(
    vectors: dict[int, Any], query: list[int], limit: int, chosen: set[int] | None, metric: Metric
) -> None:
    index = FlatIndex(4, metric)
    if vectors:
        put(index, vectors)
    eligible = vectors if chosen is None else {at: vectors[at] for at in chosen if at in vectors}
    selected = None if chosen is None else np.array(sorted(chosen), np.int64)

    nearest = index.search(np.array(query, np.float32), limit, selected)

    expected = brute_force(eligible, query, metric)[:limit]
    assert nearest.positions.tolist() == [position for position, _ in expected]
    assert nearest.similarities.tolist() == pytest.approx([similar for _, similar in expected], rel=1e-6)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("share", [None, 0.005, 0.3])
def test_finds_what_brute_force_finds_among_many(metric: Metric, share: float | None) -> None:
    random = np.random.default_rng(7)
    vectors = random.standard_normal((4000, 48)).astype(np.float32)
    index = FlatIndex(48, metric)
    index.put(np.arange(1, 4001), vectors)
    selected = None if share is None else np.flatnonzero(random.random(4001) < share)
    for query in random.standard_normal((5, 48)).astype(np.float32):
        eligible = range(1, 4001) if selected is None else selected.tolist()
        expected = brute_force({at: vectors[at - 1] for at in eligible if at}, query, metric)[:20]

        nearest = index.search(query, 20, selected)

        assert nearest.positions.tolist() == [position for position, _ in expected]


@pytest.mark.parametrize("selected", [None, np.arange(2, 3000, 2)])
def test_equal_vectors_come_by_position_though_far_more_than_asked_for(selected: Any) -> None:
    index = FlatIndex(2, Metric.COSINE)
    index.put(np.arange(3000, 0, -1), np.tile(np.array([[0.6, 0.8]], np.float32), (3000, 1)))

    nearest = index.search(np.array([1, 0], np.float32), 5, selected)

    assert nearest.positions.tolist() == ([1, 2, 3, 4, 5] if selected is None else [2, 4, 6, 8, 10])
    assert len(set(nearest.similarities.tolist())) == 1


class IndexMachine(RuleBasedStateMachine):
    """Any sequence of changes leaves the index as a dictionary would be."""

    def __init__(self) -> None:
        super().__init__()
        self.index = FlatIndex(4, Metric.DOT_PRODUCT)
        self.model: dict[int, list[int]] = {}

    @rule(vectors=st.dictionaries(st.integers(1, 3000), SMALL, min_size=1, max_size=80))
    def put(self, vectors: dict[int, list[int]]) -> None:
        put(self.index, vectors)
        self.model.update(vectors)

    @rule(positions=st.lists(st.integers(1, 3000), max_size=40))
    def remove_some(self, positions: list[int]) -> None:
        self.index.remove(positions)
        for position in positions:
            self.model.pop(position, None)

    @rule(share=st.integers(1, 3))
    def remove_known(self, share: int) -> None:
        gone = sorted(self.model)[::share]
        self.index.remove(gone)
        for position in gone:
            del self.model[position]

    @rule()
    def clear(self) -> None:
        self.index.clear()
        self.model.clear()

    @invariant()
    def holds_the_same(self) -> None:
        query = [1, -1, 2, 0]
        nearest = self.index.search(np.array(query, np.float32), len(self.model) + 1)

        expected = brute_force(self.model, query, Metric.DOT_PRODUCT)
        assert len(self.index) == len(self.model)
        assert nearest.positions.tolist() == [position for position, _ in expected]


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)


def test_searches_while_others_write_see_whole_vectors_only() -> None:
    # The vector of position p is (p, p): its dot product with (1, 1) tells whether it was read whole.
    index = FlatIndex(2, Metric.DOT_PRODUCT)
    finished = threading.Event()
    wrong: list[tuple[int, float]] = []

    def write() -> None:
        for start in range(1, 3000, 30):
            positions = np.arange(start, start + 30)
            index.put(positions, np.stack([positions, positions], axis=1).astype(np.float32))
            index.remove(positions[::3].tolist())
        finished.set()

    def read() -> None:
        while not finished.is_set():
            nearest = index.search(np.array([1, 1], np.float32), 50)
            pairs = zip(nearest.positions.tolist(), nearest.similarities.tolist(), strict=True)
            wrong.extend((position, similar) for position, similar in pairs if similar != 0.5 + position)

    threads = [threading.Thread(target=work) for work in (write, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
    assert len(index) == 2000
