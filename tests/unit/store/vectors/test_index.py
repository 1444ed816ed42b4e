"""The index of a collection: exact or by a graph, it holds what was written, and finds the nearest of it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.store.settings import IndexSettings
from services.store.vectors.background import Background
from services.store.vectors.builder import IndexBuilder
from services.store.vectors.graph import GraphIndex
from services.store.vectors.index import Nearest, VectorIndex
from services.store.vectors.places import Positions
from services.store.vectors.recall import Effort, measured
from services.store.vectors.selection import Copies, Selected
from services.store.vectors.similarity import Metric, Vectors
from services.store.vectors.snapshot import read_snapshot
from tests.unit.store.vectors.collections_of_vectors import Model, changed, clustered
from tests.unit.store.vectors.test_flat import brute_force

SMALL = st.lists(st.integers(-2, 2), min_size=3, max_size=3).map(lambda row: [*row, 1])
STORAGES = ["float32", "float16", "int8"]


def positions_of(found: list[Nearest]) -> list[list[int]]:
    return [nearest.positions.tolist() for nearest in found]


def share_found(model: Model, queries: Vectors, limit: int, selected: Positions | None = None) -> float:
    """Return the recall of searches: the share of the true nearest that they find."""
    eligible = model.vectors if selected is None else {at: model.vectors[at] for at in selected.tolist()}
    held = np.array(list(eligible))
    rows = np.array([eligible[at] for at in held.tolist()])
    hits = 0
    for query, nearest in zip(queries, model.search(queries, limit, selected), strict=True):
        scores = rows @ query / np.linalg.norm(rows, axis=1)
        hits += len(set(held[np.argsort(-scores)[:limit]].tolist()) & set(nearest.positions.tolist()))
    return hits / (limit * len(queries))


class IndexMachine(RuleBasedStateMachine):
    """Any sequence of changes and of work in the background leaves the index as a dictionary would be."""

    def __init__(self) -> None:
        super().__init__()
        # So low a threshold that graphs are built, built anew and given up all the time.
        self.model = Model(4, Metric.DOT_PRODUCT, IndexSettings(exact_below=20, rebuild_share=0.3))

    @rule(vectors=st.dictionaries(st.integers(1, 3000), SMALL, min_size=1, max_size=80))
    def put(self, vectors: dict[int, list[int]]) -> None:
        self.model.change(vectors)

    @rule(positions=st.sets(st.integers(1, 3000), max_size=40))
    def remove_some(self, positions: set[int]) -> None:
        self.model.change({}, positions)

    @rule(share=st.integers(1, 3))
    def remove_known(self, share: int) -> None:
        self.model.change({}, set(sorted(self.model.vectors)[::share]))

    @rule()
    def clear(self) -> None:
        self.model.truncate()

    @rule()
    def work(self) -> None:
        self.model.builder.work()

    @rule()
    def close_and_open(self) -> None:
        self.model.reopen()

    @invariant()
    def holds_the_same(self) -> None:
        assert len(self.model.index) == len(self.model.vectors)
        query = np.array([[1, -1, 2, 0]], np.float32)
        (nearest,) = self.model.search(query, len(self.model.vectors) + 1)

        expected = brute_force(self.model.vectors, query[0], Metric.DOT_PRODUCT)
        # Asked for more than there are, a search walks all of so small a graph.
        assert nearest.positions.tolist() == [position for position, _ in expected]

    def teardown(self) -> None:
        self.model.close()


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("metric", list(Metric))
def test_past_the_threshold_a_graph_finds_what_recall_is_asked_for(metric: Metric, storage: Any) -> None:
    asked = IndexSettings(exact_below=1000, storage=storage, target_recall=0.97)
    model = Model(32, metric, asked)
    vectors, queries = clustered(6000, 32), clustered(6100, 32)[6000:]
    model.change(dict(enumerate(vectors, start=1)))
    exact = positions_of(model.search(queries, 10))

    model.builder.work()

    statistics = model.index.statistics()
    assert (statistics.kind, statistics.graph_vectors) == ("graph", 6000)
    assert statistics.recall is not None
    assert statistics.recall >= 0.97
    found = positions_of(model.search(queries, 10))
    hits = sum(len(set(near) & set(true)) for near, true in zip(found, exact, strict=True))
    assert hits / 1000 >= 0.95


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("share", [0.002, 0.01, 0.1, 0.5, 0.9])
def test_recall_is_kept_whatever_share_is_selected(storage: Any, share: float) -> None:
    model = Model(32, Metric.COSINE, IndexSettings(exact_below=1000, storage=storage))
    vectors, queries = clustered(8000, 32), clustered(8050, 32)[8000:]
    model.change(dict(enumerate(vectors, start=1)))
    model.builder.work()
    selected = 1 + np.flatnonzero(np.random.default_rng(4).random(8000) < share)

    assert share_found(model, queries, 10, selected) >= 0.98


def test_recall_is_kept_where_what_is_selected_lies_far_from_the_query() -> None:
    model = Model(16, Metric.COSINE, IndexSettings(exact_below=500))
    vectors = clustered(5000, 16)
    model.change(dict(enumerate(vectors, start=1)))
    model.builder.work()
    query = vectors[:1]
    away = vectors @ query[0] / np.linalg.norm(vectors, axis=1)
    selected = np.sort(1 + np.argsort(away)[:1500])

    assert share_found(model, query, 10, selected) >= 0.9


@pytest.mark.parametrize("storage", STORAGES)
def test_nothing_else_is_found_once_the_selected_vectors_are_copied(storage: Any) -> None:
    model = Model(32, Metric.COSINE, IndexSettings(exact_below=1000, storage=storage))
    model.change(dict(enumerate(clustered(3000, 32), start=1)))
    model.builder.work()
    graph = model.index.graph
    assert graph is not None
    queries, positions = clustered(3030, 32)[3000:], np.arange(1, 3000, 50)
    copied = Selected(positions, Copies(1_000_000))
    assert copied.copied_in(graph, 100) is not None

    found = model.index.search(queries, 7, model.stored, copied)

    assert positions_of(found) == positions_of(model.search(queries, 7, positions))


@pytest.mark.parametrize(("share", "least"), [(None, 1.0), (0.02, 1.0), (0.5, 0.97)])
def test_searches_together_find_what_each_finds_alone(share: float | None, least: float) -> None:
    model = Model(32, Metric.COSINE, IndexSettings(exact_below=1000))
    model.change(dict(enumerate(clustered(3000, 32), start=1)))
    model.builder.work()
    model.change({position: clustered(1, 32)[0] + position for position in range(4000, 4100)})
    queries = clustered(3040, 32)[3000:]

    selected = None if share is None else np.flatnonzero(np.random.default_rng(3).random(4100) < share)

    together = model.search(queries, 7, selected)

    alone = [positions_of(model.search(query[None], 7, selected))[0] for query in queries]
    # Of a half all may be compared for many searches, and a walk of one alone may miss something.
    same = [len(set(one) & set(other)) for one, other in zip(positions_of(together), alone, strict=True)]
    assert sum(same) >= least * 7 * len(queries)


def test_what_is_deleted_or_changed_while_the_graph_is_built_is_neither_found_nor_lost() -> None:
    model = Model(16, Metric.EUCLIDEAN, IndexSettings(exact_below=500))
    background = Background()
    model.change(dict(enumerate(clustered(4000, 16), start=1)))
    background.wake(model.builder)
    random = np.random.default_rng(5)
    for _ in range(60):
        gone = set(random.choice(list(model.vectors), 20, replace=False).tolist())
        others = [at for at in random.choice(list(model.vectors), 20, replace=False).tolist() if at not in gone]
        model.change({at: random.standard_normal(16) for at in others}, gone)
        for at in others[:3]:
            # Among itself alone, because a walk of the graph may miss what is there.
            (nearest,) = model.search(np.array([model.vectors[at]], np.float32), 1, np.array([at]))
            assert nearest.positions.tolist() == [at]
            assert nearest.similarities.tolist() == pytest.approx([1.0])
    assert background.settle(model.builder, 30)
    model.builder.work()

    assert model.index.statistics().kind == "graph"
    assert len(model.index) == len(model.vectors)
    for at in model.vectors:
        (nearest,) = model.search(np.array([model.vectors[at]], np.float32), 1, np.array([at]))
        assert nearest.positions.tolist() == [at]
        assert nearest.similarities.tolist() == pytest.approx([1.0])
    for found in model.search(clustered(50, 16), 20):
        assert set(found.positions.tolist()) <= set(model.vectors)
    background.forget(model.builder)
    background.close()
    model.close()


def test_searches_while_others_write_and_graphs_are_built_see_whole_vectors_only() -> None:
    # The vector of position p is (p, p): its dot product with (1, 1) tells whether it was read whole.
    index = VectorIndex(2, Metric.DOT_PRODUCT, IndexSettings(exact_below=200, rebuild_share=0.2))
    builder = IndexBuilder(index, Path("unused"), _none_stored, lambda _: threading.Lock(), "c")  # type: ignore[arg-type,return-value]
    finished = threading.Event()
    wrong: list[tuple[int, float]] = []

    def write() -> None:
        for start in range(1, 3000, 30):
            positions = np.arange(start, start + 30)
            vectors = np.stack([positions, positions], axis=1).astype(np.float32)
            index.change(changed(positions, vectors))
            index.change(changed(positions[:0], vectors[:0], removed=positions[::3]))
        finished.set()

    def read() -> None:
        while not finished.is_set():
            (nearest,) = index.search(np.array([[1, 1]], np.float32), 50, _none_stored)
            pairs = zip(nearest.positions.tolist(), nearest.similarities.tolist(), strict=True)
            wrong.extend((position, similar) for position, similar in pairs if similar != 0.5 + position)

    def build() -> None:
        while not finished.is_set():
            builder.work()

    threads = [threading.Thread(target=work) for work in (write, read, read, build)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
    assert len(index) == 2000


def _none_stored(positions: Positions) -> tuple[Positions, Vectors]:
    raise AssertionError("float32 graphs have the vectors themselves")


def test_tombstones_past_their_share_have_the_graph_built_anew() -> None:
    model = Model(16, Metric.COSINE, IndexSettings(exact_below=500, rebuild_share=0.25))
    model.change(dict(enumerate(clustered(4000, 16), start=1)))
    model.builder.work()
    model.change({}, set(range(1, 901)))
    assert model.index.statistics().tombstones == 900
    assert not model.builder.due()

    model.change({}, set(range(901, 1201)))
    assert model.builder.due()
    model.builder.work()

    statistics = model.index.statistics()
    assert (statistics.tombstones, statistics.graph_vectors, statistics.vectors) == (0, 2800, 2800)


def test_a_rebuild_that_finds_no_tombstone_is_not_kept_for_the_next_one() -> None:
    model = Model(16, Metric.COSINE, IndexSettings(exact_below=500))
    model.change(dict(enumerate(clustered(4000, 16), start=1)))
    model.builder.work()

    model.builder.ask_for_rebuild()
    model.change({}, {1})
    assert not model.builder.due()

    model.builder.ask_for_rebuild()
    assert model.builder.due()


def test_no_graph_is_kept_of_few_vectors() -> None:
    model = Model(16, Metric.COSINE, IndexSettings(exact_below=500))
    vectors = dict(enumerate(clustered(4000, 16), start=1))
    model.change(vectors)
    model.builder.work()

    model.change({}, set(range(101, 4001)))
    model.builder.work()

    assert model.index.statistics().kind == "exact"
    assert len(model.index) == 100
    assert not list(model.folder.glob("vectors.*"))


def test_a_graph_built_after_everything_was_removed_gets_to_disk() -> None:
    model = Model(16, Metric.COSINE, IndexSettings(exact_below=500))
    vectors = dict(enumerate(clustered(3000, 16), start=1))
    model.change(vectors)
    model.builder.work()
    model.truncate()
    model.change(vectors)

    model.builder.work()

    written = read_snapshot(model.folder, GraphIndex(16, Metric.COSINE, model.settings))
    assert written is not None
    assert written[0].sequence == model.sequence == 3


def test_without_memory_for_a_second_graph_the_old_one_stays() -> None:
    model = Model(16, Metric.COSINE, IndexSettings(exact_below=500))
    model.change(dict(enumerate(clustered(4000, 16), start=1)))
    model.builder.work()
    model.change({}, set(range(1, 2001)))

    model.refuse_memory = True
    model.builder.work()

    assert model.index.statistics().tombstones == 2000
    assert not model.builder.due()
    assert len(model.search(clustered(1, 16), 10)[0].positions) == 10


def test_the_graph_is_made_by_the_settings(tmp_path: Path) -> None:
    sizes = {}
    for storage in ("float32", "float16", "int8"):
        model = Model(64, Metric.COSINE, IndexSettings(exact_below=500, storage=storage, links=8))  # type: ignore[arg-type]
        model.change(dict(enumerate(clustered(3000, 64), start=1)))
        model.builder.work()
        sizes[storage] = model.index.statistics().memory_bytes
    assert sizes["float32"] - sizes["float16"] == pytest.approx(3000 * 64 * 2, rel=0.1)
    assert sizes["float16"] - sizes["int8"] == pytest.approx(3000 * 64, rel=0.1)


def test_what_is_deleted_while_recall_is_measured_does_not_count_as_missed() -> None:
    model = Model(16, Metric.COSINE, IndexSettings(exact_below=500))
    model.change(dict(enumerate(clustered(2000, 16), start=1)))
    model.builder.work()
    graph = model.index.graph
    assert graph is not None
    rows = np.asarray(graph.exact_rows)

    def portions() -> Iterator[tuple[Positions, Vectors]]:
        yield graph.positions.copy(), rows
        model.change({}, set(range(1, 1001)))

    curves = measured(graph, rows[:50].copy(), portions(), np.random.default_rng(1))
    assert Effort(curves, 2000, 0.98).recall == pytest.approx(1, abs=0.02)
