"""Exact search: what it finds is what a comparison of every vector in float64 finds."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.store.vectors.flat import FlatIndex, nearest_in, nearest_of
from services.store.vectors.selection import Selected
from services.store.vectors.similarity import Metric, exact_scores, prepare, similarity

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
    rows = prepare(np.array(list(vectors.values()), np.float32).reshape(-1, index.dimension), index.metric)
    index.put(np.array(list(vectors), np.int64), rows)


def search(index: FlatIndex, query: Any, limit: int, selected: Any = None) -> list[tuple[int, float]]:
    """Return positions and similarities of the nearest to one query."""
    queries = prepare(np.array([query], np.float32), index.metric)
    (found,) = index.search(queries, limit, None if selected is None else Selected(selected))
    return list(zip(found.positions.tolist(), similarity(found.scores, index.metric).tolist(), strict=True))


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

    nearest = search(index, query, limit, selected)

    expected = brute_force(eligible, query, metric)[:limit]
    assert [position for position, _ in nearest] == [position for position, _ in expected]
    assert [near for _, near in nearest] == pytest.approx([near for _, near in expected], rel=1e-6)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("share", [None, 0.005, 0.3])
def test_finds_what_brute_force_finds_among_many(metric: Metric, share: float | None) -> None:
    random = np.random.default_rng(7)
    vectors = random.standard_normal((4000, 48)).astype(np.float32)
    index = FlatIndex(48, metric)
    index.put(np.arange(1, 4001), prepare(vectors, metric))
    selected = None if share is None else np.flatnonzero(random.random(4001) < share)
    for query in random.standard_normal((5, 48)).astype(np.float32):
        eligible = range(1, 4001) if selected is None else selected.tolist()
        expected = brute_force({at: vectors[at - 1] for at in eligible if at}, query, metric)[:20]

        nearest = search(index, query, 20, selected)

        assert [position for position, _ in nearest] == [position for position, _ in expected]


@pytest.mark.parametrize("selected", [None, np.arange(2, 3000, 2)])
def test_equal_vectors_come_by_position_though_far_more_than_asked_for(selected: Any) -> None:
    index = FlatIndex(2, Metric.COSINE)
    index.put(np.arange(3000, 0, -1), np.tile(np.array([[0.6, 0.8]], np.float32), (3000, 1)))

    nearest = search(index, [1, 0], 5, selected)

    assert [position for position, _ in nearest] == ([1, 2, 3, 4, 5] if selected is None else [2, 4, 6, 8, 10])
    assert len({near for _, near in nearest}) == 1


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("chosen", [0, 5, 600, 1300], ids=lambda chosen: f"{chosen or 'all'}")
def test_queries_together_find_what_each_finds_alone(metric: Metric, chosen: int) -> None:
    random = np.random.default_rng(11)
    index = FlatIndex(16, metric)
    put(index, dict(enumerate(random.standard_normal((1400, 16)), start=1)))
    queries = prepare(random.standard_normal((40, 16)).astype(np.float32), metric)
    selected = Selected(np.sort(random.permutation(1400)[:chosen]) + 1) if chosen else None

    together = index.search(queries, 10, selected)

    alone = [index.search(query.reshape(1, -1), 10, selected)[0] for query in queries]
    assert [found.positions.tolist() for found in together] == [found.positions.tolist() for found in alone]
    assert [found.scores.tolist() for found in together] == [found.scores.tolist() for found in alone]


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("count", [1, 2, 9])
def test_rows_are_compared_where_they_lie_by_blocks_and_in_a_copy(metric: Metric, count: int) -> None:
    random = np.random.default_rng(7)
    rows = prepare(random.standard_normal((900, 96)).astype(np.float32), metric)
    queries = prepare(random.standard_normal((count, 96)).astype(np.float32), metric)
    slots = np.sort(random.permutation(900)[:700]).astype(np.int32)

    scores = [exact_scores(query, rows[slots], metric) for query in queries]
    nearest = [set(slots[np.argsort(-each)[:12]].tolist()) for each in scores]

    assert [set(found.tolist()) for found in nearest_of(queries, rows, slots, 12, metric)] == nearest
    assert [set(found.tolist()) for found in nearest_in(queries, rows[slots], slots, 12, metric)] == nearest
    assert nearest_in(queries, rows[slots], slots, 701, metric)[0].tolist() == slots.tolist()


def test_the_first_rows_are_exchanged_for_others_and_all_stay_under_their_positions() -> None:
    index = FlatIndex(2, Metric.EUCLIDEAN)
    put(index, {position: [position, -position] for position in range(1, 201)})

    index.to_front(20, np.random.default_rng(3))

    assert set(index.positions[:20].tolist()) != set(range(1, 21))
    assert sorted(index.positions.tolist()) == list(range(1, 201))
    assert (index.rows[:, 0] == index.positions).all()


def test_memory_is_given_back_when_most_is_removed() -> None:
    index = FlatIndex(8, Metric.EUCLIDEAN)
    put(index, {position: [position] * 8 for position in range(1, 10_001)})
    full = index.memory_bytes

    index.remove(np.arange(1, 9_991))

    assert index.memory_bytes < full / 4
    assert (index.rows[:, 0] == index.positions).all()
