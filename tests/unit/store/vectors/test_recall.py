"""How far searches walk: measured on the vectors themselves, and carried over to shares that were not measured."""

import numpy as np
import pytest

from services.store.settings import IndexSettings
from services.store.vectors.graph import Walk
from services.store.vectors.recall import Curve, Effort, Step
from services.store.vectors.similarity import Metric
from tests.unit.store.vectors.collections_of_vectors import Model, clustered

ALL = Curve(1.0, (Step(16, 0.9, 300), Step(48, 0.98, 700), Step(96, 0.998, 1_200)))
HALF = Curve(0.5, (Step(48, 0.97, 700), Step(100, 0.996, 1_000), Step(200, 0.999, 1_500)))
EIGHTH = Curve(0.125, (Step(100, 0.95, 1_000), Step(400, 0.996, 4_000)))
MEASURED = Effort((ALL, HALF, EIGHTH), 100_000, 0.98)


def built(count: int) -> Model:
    model = Model(16, Metric.COSINE, IndexSettings(exact_below=500))
    model.change(dict(enumerate(clustered(count, 16), start=1)))
    model.builder.work()
    return model


@pytest.mark.parametrize(("target", "walk", "recall"), [(0.5, 16, 0.9), (0.98, 48, 0.98), (0.99, 96, 0.998)])
def test_the_least_effort_that_reaches_the_target_is_taken(target: float, walk: int, recall: float) -> None:
    aimed = MEASURED.aimed_at(target)

    assert (aimed.walk, aimed.recall) == (walk, recall)


def test_where_none_reaches_the_target_the_greatest_is_taken() -> None:
    assert MEASURED.aimed_at(0.9999).walk == 96


@pytest.mark.parametrize(
    ("share", "walk"),
    [
        (0.9, Walk(100, 1_000)),
        (0.5, Walk(100, 1_000)),
        (0.25, Walk(200, 2_000)),
        (0.125, Walk(400, 4_000)),
        (0.0125, Walk(4_000, 40_000)),
    ],
)
def test_walks_grow_as_a_power_of_the_share_and_beyond_the_last_as_its_inverse(share: float, walk: Walk) -> None:
    assert MEASURED.walk_among(share, 16) == walk


def test_a_share_for_which_no_effort_was_enough_is_left_out() -> None:
    assert [share for share, _ in MEASURED.aimed_at(0.99).among] == [0.5]


def test_unmeasured_a_walk_is_long() -> None:
    assert Effort().walk_among(0.5, 16) == Walk(512, 512 * 16)


def test_efforts_are_measured_as_far_as_walks_cost_less_than_comparing_all() -> None:
    curves = built(12_000).index.effort.curves

    assert [curve.share for curve in curves[:2]] == [1.0, 0.5]
    for curve in curves:
        efforts, recalls, compared = zip(*((one.walk, one.recall, one.compared) for one in curve.steps), strict=True)
        assert list(efforts) == sorted(efforts)
        assert list(compared) == sorted(compared)
        assert recalls[-1] >= recalls[0]
        # A walk compares many times its steps, and never more than there are.
        assert all(steps < most <= 12_000 for steps, most in zip(efforts, compared, strict=True))


def test_another_target_is_met_after_a_start_without_measuring_again() -> None:
    model = built(12_000)
    measured = model.index.effort
    model.settings = IndexSettings(exact_below=500, target_recall=0.9999)

    model.reopen()

    assert model.index.effort == measured.aimed_at(0.9999)
    assert model.index.effort.walk > measured.walk
    assert not model.builder.due()


def test_too_few_vectors_outside_of_the_graph_tell_nothing() -> None:
    model = built(2_000)
    measured = model.index.effort
    # Grown enough, but only few are left when it is measured.
    model.settings = IndexSettings(exact_below=500, tail=10)
    model.reopen()
    for start in range(3_000, 4_000, 20):
        model.change({start + at: row for at, row in enumerate(clustered(20, 16))})
        model.builder.work()

    assert len(model.index) == 3_000
    assert model.index.effort == measured


@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_recall_is_kept_where_what_is_selected_lies_together(storage: str) -> None:
    model = Model(32, Metric.COSINE, IndexSettings(exact_below=1000, storage=storage))  # type: ignore[arg-type]
    vectors, queries = clustered(12_000, 32), clustered(12_100, 32)[12_000:]
    model.change(dict(enumerate(vectors, start=1)))
    model.builder.work()
    # A third of the clusters: near other queries nothing is selected.
    positions = 1 + np.flatnonzero(np.arange(12_000) % 40 < 13)
    rows = vectors[positions - 1] / np.linalg.norm(vectors[positions - 1], axis=1, keepdims=True)

    found = model.search(queries, 10, positions)

    true = [set(positions[np.argsort(-(rows @ query))[:10]].tolist()) for query in queries]
    hits = sum(len(set(near.positions.tolist()) & near_true) for near, near_true in zip(found, true, strict=True))
    assert hits / 1000 >= 0.97
