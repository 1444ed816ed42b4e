"""How far searches walk: measured on the vectors themselves, and carried over to shares that were not measured."""

import itertools

import numpy as np
import pytest

from services.store.settings import IndexSettings
from services.store.vectors.graph import Walk
from services.store.vectors.recall import Among, Effort
from services.store.vectors.similarity import Metric
from tests.unit.store.vectors.collections_of_vectors import Model, clustered

MEASURED = Effort(48, 0.98, 100_000, 0.98, (Among(0.5, 100, 1_000), Among(0.125, 400, 4_000)))


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


def test_unmeasured_a_walk_is_long() -> None:
    assert Effort(48).walk_among(0.5, 16) == Walk(192, 192 * 16)


def test_walks_are_measured_as_far_as_they_cost_less_than_comparing_all() -> None:
    model = Model(16, Metric.COSINE, IndexSettings(exact_below=500))
    model.change(dict(enumerate(clustered(12_000, 16), start=1)))

    model.builder.work()

    among = model.index.effort.among
    assert among
    assert among[0].share == 0.5
    for more, fewer in itertools.pairwise(among):
        assert fewer.share < more.share
        assert fewer.walk >= more.walk
    # A walk compares many times its steps, and never more than there are.
    assert all(one.walk < one.compared <= 12_000 for one in among)


def test_what_was_measured_survives_a_start_and_is_not_measured_again() -> None:
    model = Model(16, Metric.COSINE, IndexSettings(exact_below=500))
    model.change(dict(enumerate(clustered(4_000, 16), start=1)))
    model.builder.work()
    effort = model.index.effort

    model.reopen()

    assert model.index.effort == effort
    assert not model.builder.due()


def test_only_what_an_older_version_did_not_measure_is_measured() -> None:
    model = Model(16, Metric.COSINE, IndexSettings(exact_below=500))
    model.change(dict(enumerate(clustered(4_000, 16), start=1)))
    model.builder.work()
    graph, effort = model.index.graph, model.index.effort
    assert graph is not None
    older = Effort(77, effort.recall, effort.vectors, effort.target)
    model.index.set_effort(graph, older)
    assert model.builder.due()

    model.builder.work()
    model.reopen()

    assert model.index.effort.walk == 77
    assert model.index.effort.among
    assert not model.builder.due()


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
