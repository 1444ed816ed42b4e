"""The data of the store's benchmark, and which answers are right."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.store.answers import Float32, Judge
from benchmarks.store.dataset import (
    CATEGORIES,
    DIMENSION,
    LEAST,
    QUERIES,
    RESERVE,
    SHARES,
    TOP,
    Truth,
    categories,
    exact,
    opened,
    prepare,
)
from benchmarks.store.documents import Documents
from benchmarks.store.synthetic import synthetic_vectors


def test_categories_have_exactly_their_share_of_every_hundred() -> None:
    found = categories(1_000)
    for number, share in enumerate(SHARES.values()):
        assert (found == number).sum() == 10 * share
        assert (found[300:400] == number).sum() == share


def test_categories_of_fewer_documents_are_the_first_of_more() -> None:
    assert (categories(2_000)[:700] == categories(700)).all()


def test_synthetic_vectors_are_of_length_one_and_fewer_are_the_first_of_more() -> None:
    found = synthetic_vectors(10_100)
    assert found.shape == (10_100, DIMENSION)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert (synthetic_vectors(300) == found[:300]).all()


def test_synthetic_vectors_have_near_neighbours_as_texts_have() -> None:
    found = synthetic_vectors(3_000)
    cosines = np.sort(found[:100] @ found[100:].T, axis=1)
    assert cosines[:, -1].mean() > 0.6
    assert cosines.mean() < 0.1


def test_exact_answers_are_the_nearest_in_order() -> None:
    vectors = synthetic_vectors(500)
    found = exact(vectors, vectors[:3])
    every = vectors[:3] @ vectors.T
    assert found.nearest[:, 0].tolist() == [0, 1, 2]
    assert (found.nearest == np.argsort(-every, axis=1)[:, :TOP]).all()
    assert np.allclose(found.tenth, np.sort(every, axis=1)[:, -TOP])


def test_prepared_data_is_made_once_and_keeps_queries_and_reserve_apart(tmp_path: Path) -> None:
    folder = prepare("synthetic", LEAST, tmp_path, print)
    assert prepare("synthetic", LEAST, tmp_path, print) == folder
    data = opened(folder)
    every = synthetic_vectors(QUERIES + RESERVE + LEAST)
    assert (data.queries == every[:QUERIES]).all()
    assert (data.vectors[:LEAST] == every[QUERIES + RESERVE :]).all()
    assert (data.vectors[LEAST:] == every[QUERIES : QUERIES + RESERVE]).all()
    rare = data.truth(LEAST, "rare")
    assert set(rare.nearest.ravel().tolist()) <= set(np.flatnonzero(categories(LEAST) == 0).tolist())


@pytest.mark.parametrize("size", [1_050, 900])
def test_a_size_without_exact_shares_or_full_answers_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 100"):
        prepare("synthetic", size, tmp_path, print)


def test_documents_beyond_the_data_are_those_of_the_reserve_in_turn(tmp_path: Path) -> None:
    data = opened(prepare("synthetic", LEAST, tmp_path, print))
    documents = Documents(data)
    assert documents.row(LEAST - 1) == LEAST - 1
    assert documents.row(LEAST + RESERVE + 7) == LEAST + 7
    assert documents.category(LEAST) == CATEGORIES[-1]
    assert set(documents.fields(5)) == {"text", "category", "number", "place"}


@pytest.fixture
def judge() -> Judge:
    vectors = np.eye(TOP + 2, dtype=np.float32)
    reserve = np.zeros((RESERVE, TOP + 2), np.float32)
    reserve[0, 0] = 1
    return Judge(np.concatenate([vectors, reserve]), np.array([0] * TOP + [1, 1]), TOP + 2)


@pytest.fixture
def queries() -> Float32:
    # Document 0 is the nearest, then 1, and so on.
    return np.linspace(1, 0, TOP + 2, dtype=np.float32)[None]


@pytest.fixture
def truth(queries: Float32) -> Truth:
    return Truth(np.arange(TOP)[None], queries[:, TOP - 1])


def judged(
    judge: Judge, queries: Float32, truth: Truth, numbers: list[int], category: int | None = None
) -> tuple[int, int, int]:
    found = judge.judge([(0, numbers)], queries, truth, category)
    return found.right, found.expected, found.wrong


def test_right_documents_are_right_in_any_order(judge: Judge, queries: Float32, truth: Truth) -> None:
    assert judged(judge, queries, truth, list(range(TOP))[::-1]) == (TOP, TOP, 0)


def test_documents_that_are_further_away_and_missing_ones_are_not_right(
    judge: Judge, queries: Float32, truth: Truth
) -> None:
    assert judged(judge, queries, truth, [*range(TOP - 1), TOP]) == (TOP - 1, TOP, 0)
    assert judged(judge, queries, truth, [0, 1]) == (2, TOP, 0)
    assert judged(judge, queries, truth, []) == (0, TOP, 0)


def test_unknown_documents_and_repeated_ones_are_wrong(judge: Judge, queries: Float32, truth: Truth) -> None:
    assert judged(judge, queries, truth, [0, 0, -1]) == (1, TOP, 2)


def test_documents_of_another_category_are_wrong_in_a_filtered_answer(
    judge: Judge, queries: Float32, truth: Truth
) -> None:
    assert judged(judge, queries, truth, [0, 1, TOP], 0) == (2, TOP, 1)


def test_documents_written_meanwhile_are_right_where_they_are_near(
    judge: Judge, queries: Float32, truth: Truth
) -> None:
    assert judged(judge, queries, truth, [TOP + 2]) == (1, TOP, 0)
    assert judged(judge, queries, truth, [TOP + 3]) == (0, TOP, 0)
    assert judged(judge, queries, truth, [TOP + 2 + RESERVE]) == (1, TOP, 0)


def test_documents_not_loaded_yet_are_wrong(queries: Float32, truth: Truth, judge: Judge) -> None:
    early = Judge(judge.vectors, judge.categories, 4)
    assert judged(early, queries, truth, [3, 4]) == (1, TOP, 1)
