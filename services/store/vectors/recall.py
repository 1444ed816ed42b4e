"""How far searches of a graph have to walk, measured on the collection itself."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from services.store.vectors.flat import nearest_rows
from services.store.vectors.graph import WALKED_COST, GraphIndex, Walk
from services.store.vectors.places import ABSENT, Positions, Slots
from services.store.vectors.selection import bitmap
from services.store.vectors.similarity import Metric, Scores, Vectors, exact_scores_of_each

#: Searches that recall is measured with, and how many nearest each has to find.
SAMPLE = 128
NEAREST = 10
#: Efforts that are tried, up to the first that finds as good as everything.
EFFORTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
_EVERYTHING = 0.998
#: Shares of the vectors that are selected, at random, to measure how far walks among them have to go; all come first.
SHARES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
#: Recall below which an effort is of no use for a smaller share either.
_USELESS = 0.9
#: Of what a search of all may miss, a search among selected ones may miss this part: whoever filters expects everything
#: that matches, and misses are more where the selection is not at random.
_MISSED_AMONG = 0.25
#: Vectors that a measured walk returns at most, to count how many it compared.
_COUNTED = 4_096
#: Effort where nothing was measured.
_UNMEASURED = 128


@dataclass(frozen=True, slots=True)
class Step:
    """An effort, the recall that was measured with it, and how many vectors a walk compared, about."""

    walk: int
    recall: float
    compared: int


@dataclass(frozen=True, slots=True)
class Curve:
    """What was measured where a `share` of the vectors was selected, by growing effort."""

    share: float
    steps: tuple[Step, ...]

    def least(self, recall: float) -> Step | None:
        """Return the least effort that reaches a recall, if one does."""
        return next((step for step in self.steps if step.recall >= recall), None)


@dataclass(frozen=True, slots=True)
class Effort:
    """How far searches walk: what was measured among so many vectors, and the recall that is asked for (`target`)."""

    curves: tuple[Curve, ...] = ()
    vectors: int = 0
    target: float = 0.0
    #: For searches of all vectors.
    all: Step | None = field(init=False)
    #: For searches among shares of them, falling, as far as the greatest effort was enough.
    among: tuple[tuple[float, Step], ...] = field(init=False)

    def __post_init__(self) -> None:
        everything = self.curves[0] if self.curves else None
        reached = None if everything is None else everything.least(self.target) or everything.steps[-1]
        object.__setattr__(self, "all", reached)
        demanded = 1 - _MISSED_AMONG * (1 - self.target)
        among: list[tuple[float, Step]] = []
        for curve in self.curves[1:]:
            step = curve.least(demanded)
            if step is None:
                break
            among.append((curve.share, step))
        object.__setattr__(self, "among", tuple(among))

    @property
    def walk(self) -> int:
        """Return the effort of searches of all vectors."""
        return _UNMEASURED if self.all is None else self.all.walk

    @property
    def recall(self) -> float | None:
        """Return the recall that was measured for searches of all vectors; None where none was."""
        return None if self.all is None else self.all.recall

    def aimed_at(self, target: float) -> "Effort":
        """Return the effort for another recall, by what was measured."""
        return Effort(self.curves, self.vectors, target)

    def walk_among(self, share: float, links: int) -> Walk:
        """Return how far to walk where a share of the vectors is selected.

        Between two shares that were measured walks grow as a power of the share; beyond the last one as its inverse,
        which is more than they do. Unmeasured, a walk is taken to compare `links` vectors a step.
        """
        if not self.among:
            steps = math.ceil(2 * self.walk / share)
            return Walk(steps, steps * links)
        (first, step), (last, longest) = self.among[0], self.among[-1]
        if share >= first:
            return Walk(step.walk, step.compared)
        for (more, near), (fewer, far) in pairwise(self.among):
            if share >= fewer:
                part = math.log(share / more) / math.log(fewer / more)
                walk = math.ceil(_between(near.walk, far.walk, part))
                return Walk(walk, math.ceil(_between(near.compared, far.compared, part)))
        return Walk(math.ceil(longest.walk * last / share), math.ceil(longest.compared * last / share))


def _between(first: float, second: float, part: float) -> float:
    return float(first * (second / first) ** part)


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked: prepared vectors float32[s, d] in the `selected` slots int32[n], and the true nearest of each."""

    vectors: Vectors
    selected: Slots
    truth: list[Positions]


def measured(
    graph: GraphIndex, vectors: Vectors, portions: Iterator[tuple[Positions, Vectors]], random: np.random.Generator
) -> tuple[Curve, ...]:
    """Return what efforts find for prepared vectors float32[s, d], among all vectors and among shares of them.

    The vectors must not be in the graph. What it was built around is found far more easily, because a walk that gets
    there has the links to what is near: an effort that found 0.98 for vectors of the graph found 0.88 for others.
    `portions` are all vectors of the graph with their positions, exact and prepared. Efforts are tried as far as
    comparing all selected vectors costs more.
    """
    selections = [random.random(graph.slots) < share for share in SHARES]
    truths = exact_nearest(graph, vectors, portions, selections)
    curves: list[Curve] = []
    efforts: Sequence[int] = EFFORTS
    for share, selection, truth in zip(SHARES, selections, truths, strict=True):
        selected = np.flatnonzero(selection & (graph.positions != ABSENT)).astype(np.int32)
        curve = Curve(share, tuple(_steps(graph, _Question(vectors, selected, truth), share, efforts)))
        if not curve.steps:
            break
        curves.append(curve)
        # Fewer selected ones take a longer walk.
        efforts = [step.walk for step in curve.steps if step.recall >= _USELESS]
        efforts += [effort for effort in EFFORTS if effort > curve.steps[-1].walk]
    return tuple(curves)


def _steps(graph: GraphIndex, question: _Question, share: float, efforts: Sequence[int]) -> Iterator[Step]:
    bits = bitmap(question.selected, graph.slots)
    for effort in efforts:
        step = _step(graph, question, bits, effort)
        if share < 1 and WALKED_COST * step.compared >= share * graph.slots:
            return
        yield step
        if step.recall >= _EVERYTHING:
            return


def exact_nearest(
    graph: GraphIndex,
    vectors: Vectors,
    portions: Iterator[tuple[Positions, Vectors]],
    selections: Sequence[npt.NDArray[np.bool_]],
) -> list[list[Positions]]:
    """Return the positions of the true nearest of each vector, for each selection of slots, bool[slots]."""
    best = [_Best.none(len(vectors)) for _ in selections]
    for positions, rows in portions:
        slots = graph.slots_of(positions)
        for number, selection in enumerate(selections):
            chosen = selection[slots] & (slots != ABSENT)
            best[number] = best[number].with_rows(vectors, positions[chosen], rows[chosen], graph.metric)
    return [[near[scores > -np.inf] for near, scores in zip(one.positions, one.scores, strict=True)] for one in best]


@dataclass(frozen=True, slots=True)
class _Best:
    """The nearest so far of each query: positions int64[q, k] and scores float64[q, k], -inf for none."""

    positions: npt.NDArray[np.int64]
    scores: Scores

    @classmethod
    def none(cls, queries: int) -> "_Best":
        return cls(np.empty((queries, 0), np.int64), np.empty((queries, 0)))

    def with_rows(self, queries: Vectors, positions: Positions, rows: Vectors, metric: Metric) -> "_Best":
        if not len(rows):
            return self
        numbers = np.zeros((len(queries), min(NEAREST, len(rows))), np.int64)
        found = np.zeros(numbers.shape, np.bool_)
        for query, near in enumerate(nearest_rows(queries, rows, numbers.shape[1], metric)):
            numbers[query, : len(near)], found[query, : len(near)] = near, True
        exact = np.where(found, exact_scores_of_each(queries, rows[numbers], metric), -np.inf)
        names = np.concatenate([self.positions, positions[numbers]], axis=1)
        scores = np.concatenate([self.scores, exact], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :NEAREST]
        return _Best(np.take_along_axis(names, order, 1), np.take_along_axis(scores, order, 1))


def _step(graph: GraphIndex, question: _Question, bits: npt.NDArray[np.uint8], effort: int) -> Step:
    """Return what an effort finds among the slots whose bits are set."""
    count = min(_COUNTED, max(1, graph.slots))
    walked = graph.walk(question.vectors, count, effort, bits)
    met = np.count_nonzero(walked != ABSENT, axis=1).mean()
    hits = wanted = 0
    # As searches do, which compare some candidates more than they are asked for by the exact vectors.
    for row, nearest in zip(walked[:, : NEAREST + graph.more_than(NEAREST)], question.truth, strict=True):
        # What was deleted since the truth was looked for cannot be found.
        true = nearest[graph.slots_of(nearest) != ABSENT]
        wanted += len(true)
        found = graph.positions[row[row != ABSENT]]
        hits += len(np.intersect1d(found if graph.exact_rows is None else found[:NEAREST], true))
    return Step(effort, hits / max(1, wanted), math.ceil(met * graph.slots / max(1, len(question.selected))))
