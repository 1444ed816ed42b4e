"""Similarities: the three formulas, in float64, shown as float32."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.store.vectors.similarity import Metric, exact_scores, exact_scores_of_each, prepare, similarity


def similarity_of(left: list[float], right: list[float], metric: Metric) -> float:
    """Return the similarity of two vectors by way of the three functions that a search uses."""
    rows = prepare(np.array([left], np.float32), metric)
    query = prepare(np.array([right], np.float32), metric)
    return float(similarity(exact_scores(query[0], rows, metric), metric)[0])


@pytest.mark.parametrize(
    ("metric", "left", "right", "expected"),
    [
        (Metric.COSINE, [1, 0], [3, 0], 1.0),
        (Metric.COSINE, [1, 0], [0, 2], 0.5),
        (Metric.COSINE, [1, 0], [-2, 0], 0.0),
        (Metric.DOT_PRODUCT, [1, 2], [3, 4], 6.0),
        (Metric.DOT_PRODUCT, [1, 2], [-3, 0], -1.0),
        (Metric.EUCLIDEAN, [1, 2], [1, 2], 1.0),
        (Metric.EUCLIDEAN, [0, 0], [3, 4], 1 / 26),
    ],
)
def test_formulas(metric: Metric, left: list[float], right: list[float], expected: float) -> None:
    assert similarity_of(left, right, metric) == pytest.approx(expected, rel=1e-6)


FLOATS = st.floats(-1e3, 1e3, width=32)


@given(left=st.lists(FLOATS, min_size=5, max_size=5), right=st.lists(FLOATS, min_size=5, max_size=5))
def test_formulas_hold_for_any_vectors(left: list[float], right: list[float]) -> None:
    a, b = np.array(left), np.array(right)
    dot, distance = float(a @ b), float(((a - b) ** 2).sum())

    assert similarity_of(left, right, Metric.DOT_PRODUCT) == pytest.approx((1 + dot) / 2, rel=1e-6, abs=1e-6)
    assert similarity_of(left, right, Metric.EUCLIDEAN) == pytest.approx(1 / (1 + distance), rel=1e-6)
    if np.linalg.norm(a) > 1e-30 and np.linalg.norm(b) > 1e-30:
        cosine = dot / (np.linalg.norm(a) * np.linalg.norm(b))
        assert similarity_of(left, right, Metric.COSINE) == pytest.approx((1 + cosine) / 2, abs=1e-6)


@pytest.mark.parametrize("size", [1e30, 1e-30])
def test_sizes_that_float32_cannot_square_have_a_direction(size: float) -> None:
    assert similarity_of([size, 0], [1, 1], Metric.COSINE) == pytest.approx((1 + 2**-0.5) / 2, rel=1e-6)


def test_similarities_stay_finite() -> None:
    assert np.isfinite(similarity_of([1e38, 1e38], [1e38, 1e38], Metric.DOT_PRODUCT))
    assert similarity_of([1e38, 0], [-1e38, 0], Metric.EUCLIDEAN) == 0.0


@given(st.lists(FLOATS, min_size=7, max_size=7), st.integers(1, 9))
def test_equal_rows_have_equal_scores_wherever_they_lie(row: list[float], copies: int) -> None:
    rows = np.array([row] * copies + [[0.5] * 7] * 3, np.float32)

    scores = exact_scores(rows[-1], rows, Metric.DOT_PRODUCT)

    assert len(set(scores[:copies].tolist())) == 1


def test_a_zero_vector_stays_zero() -> None:
    assert prepare(np.zeros((1, 3), np.float32), Metric.COSINE).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("metric", list(Metric))
def test_scores_of_several_queries_are_those_of_each_to_the_last_bit(metric: Metric) -> None:
    random = np.random.default_rng(2)
    queries = random.standard_normal((5, 384)).astype(np.float32)
    rows = random.standard_normal((5, 14, 384)).astype(np.float32)

    together = exact_scores_of_each(queries, rows, metric)

    alone = [exact_scores(query, near, metric).tolist() for query, near in zip(queries, rows, strict=True)]
    assert together.tolist() == alone
