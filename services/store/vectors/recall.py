"""How far searches of a graph have to walk, measured on the collection itself."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.store.vectors.flat import nearest_rows
from services.store.vectors.graph import WALKED_COST, GraphIndex, Walk
from services.store.vectors.places import ABSENT, Positions
from services.store.vectors.selection import bitmap
from services.store.vectors.similarity import Metric, Scores, Vectors, exact_scores_of_each

#: Searches that recall is measured with, and how many nearest each has to find.
SAMPLE = 128
NEAREST = 10
#: Efforts that are tried.
EFFORTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
#: The greatest one for searches of all vectors.
_GREATEST = EFFORTS.index(1024)
#: Shares of the vectors that are selected, at random, to measure how far a walk among them has to go.
SHARES = (0.5, 0.2, 0.1, 0.05, 0.02)
#: Of what a search of all may miss, a search among selected ones may miss this part: whoever filters expects everything
#: that matches, and misses are more where the selection is not at random.
_MISSED_AMONG = 0.4
#: Vectors that a measured walk returns at most, to count how many it compared.
_COUNTED = 4_096


@dataclass(frozen=True, slots=True)
class Among:
    """A walk that was far enough where a `share` of the vectors was selected, and how many vectors it compared."""

    share: float
    walk: int
    compared: int


@dataclass(frozen=True, slots=True)
class Effort:
    """An effort, and the recall that was measured with it (None: never measured) among so many vectors.

    `target` is the recall that was asked for then. `among` has the walks among selected vectors, by falling share;
    None where they were never measured.
    """

    walk: int = 128
    recall: float | None = None
    vectors: int = 0
    target: float = 0.0
    among: tuple[Among, ...] | None = None

    def walk_among(self, share: float, links: int) -> Walk:
        """Return how far to walk where a share of the vectors is selected.

        Between two shares that were measured walks grow as a power of the share; beyond the last one as its inverse,
        which is more than they do. Unmeasured, a walk is taken to compare `links` vectors a step.
        """
        if not self.among:
            steps = math.ceil(2 * self.walk / share)
            return Walk(steps, steps * links)
        if share >= self.among[0].share:
            return Walk(self.among[0].walk, self.among[0].compared)
        for more, fewer in pairwise(self.among):
            if share >= fewer.share:
                part = math.log(share / more.share) / math.log(fewer.share / more.share)
                return Walk(
                    math.ceil(_between(more.walk, fewer.walk, part)),
                    math.ceil(_between(more.compared, fewer.compared, part)),
                )
        last = self.among[-1]
        times = last.share / share
        return Walk(math.ceil(last.walk * times), math.ceil(last.compared * times))


def _between(first: float, second: float, part: float) -> float:
    return float(first * (second / first) ** part)


@dataclass(frozen=True, slots=True)
class Sample:
    """Prepared vectors float32[s, d] to search for, and the position int64[s] of each, `ABSENT` outside the graph.

    The graph was built around the vectors it has, which are found a little more easily than what is searched for
    later. So vectors that are not in it yet tell more; of its own ones, none counts as found by itself.
    """

    vectors: Vectors
    positions: Positions

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class _Question:
    """What a sample is asked in: the selected slots bool[slots] (None: all), and the true nearest of each vector."""

    selection: npt.NDArray[np.bool_] | None
    truth: list[Positions]


def least_effort(
    graph: GraphIndex,
    sample: Sample,
    portions: Iterator[tuple[Positions, Vectors]],
    target: float,
    random: np.random.Generator,
) -> Effort:
    """Return the least effort whose searches find the `target` share of the true nearest, or the greatest one.

    The same for searches among a share of the vectors, selected at random, as far as the greatest effort is enough.
    `portions` are all vectors of the graph with their positions, exact and prepared.
    """
    selections = [None, *(random.random(graph.slots) < share for share in SHARES)]
    truths = exact_nearest(graph, sample, portions, selections)
    of_all, *of_shares = map(_Question, selections, truths)
    walk, recall = _least(EFFORTS[: _GREATEST + 1], target, lambda steps: _recall(graph, sample, of_all, steps))
    among = _least_among(graph, sample, of_shares, walk, 1 - _MISSED_AMONG * (1 - target))
    return Effort(walk, recall, len(graph), target, tuple(among))


def _least_among(
    graph: GraphIndex, sample: Sample, questions: Sequence[_Question], walk: int, demanded: float
) -> Iterator[Among]:
    """Yield the least walks that reach a recall among each share, up to where comparing all selected costs less."""
    efforts = iter(effort for effort in EFFORTS if effort >= walk)
    steps = next(efforts)
    for share, question in zip(SHARES, questions, strict=True):
        # Fewer selected ones take a longer walk, so each share begins where the one before it ended.
        while (found := _recall_among(graph, sample, question, steps)).recall < demanded:
            longer = next(efforts, None)
            if longer is None or WALKED_COST * found.compared >= share * graph.slots:
                return
            steps = longer
        yield Among(share, steps, math.ceil(found.compared))


def _least(efforts: Sequence[int], target: float, measure: Callable[[int], float]) -> tuple[int, float]:
    """Return the least effort that reaches a recall, or the greatest one, and the recall it reaches."""
    reached: tuple[int, float] | None = None
    low, high = 0, len(efforts) - 1
    while low <= high:
        middle = (low + high) // 2
        recall = measure(efforts[middle])
        if recall >= target:
            reached, high = (efforts[middle], recall), middle - 1
        else:
            low = middle + 1
            if middle == len(efforts) - 1:
                reached = efforts[middle], recall
    assert reached is not None
    return reached


def exact_nearest(
    graph: GraphIndex,
    sample: Sample,
    portions: Iterator[tuple[Positions, Vectors]],
    selections: Sequence[npt.NDArray[np.bool_] | None],
) -> list[list[Positions]]:
    """Return the positions of the true nearest of each vector of a sample, itself left out, for each selection.

    A selection bool[slots] has the slots that count; None has all.
    """
    best = [_Best.none(len(sample)) for _ in selections]
    for positions, rows in portions:
        slots = graph.slots_of(positions)
        for number, selection in enumerate(selections):
            chosen = slice(None) if selection is None else selection[slots] & (slots != ABSENT)
            best[number] = best[number].with_rows(sample.vectors, positions[chosen], rows[chosen], graph.metric)
    return [
        [
            near[(near != own) & (scores > -np.inf)][:NEAREST]
            for near, scores, own in zip(one.positions, one.scores, sample.positions, strict=True)
        ]
        for one in best
    ]


@dataclass(frozen=True, slots=True)
class _Best:
    """The nearest so far of each query, and one more: positions int64[q, k] and scores float64[q, k], -inf for none."""

    positions: npt.NDArray[np.int64]
    scores: Scores

    @classmethod
    def none(cls, queries: int) -> "_Best":
        return cls(np.empty((queries, 0), np.int64), np.empty((queries, 0)))

    def with_rows(self, queries: Vectors, positions: Positions, rows: Vectors, metric: Metric) -> "_Best":
        if not len(rows):
            return self
        most = NEAREST + 1
        numbers = np.zeros((len(queries), min(most, len(rows))), np.int64)
        found = np.zeros(numbers.shape, np.bool_)
        for query, near in enumerate(nearest_rows(queries, rows, numbers.shape[1], metric)):
            numbers[query, : len(near)], found[query, : len(near)] = near, True
        exact = np.where(found, exact_scores_of_each(queries, rows[numbers], metric), -np.inf)
        names = np.concatenate([self.positions, positions[numbers]], axis=1)
        scores = np.concatenate([self.scores, exact], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :most]
        return _Best(np.take_along_axis(names, order, 1), np.take_along_axis(scores, order, 1))


def _recall(graph: GraphIndex, sample: Sample, question: _Question, steps: int) -> float:
    # As searches do, which compare some candidates more than they are asked for by the exact vectors.
    return _found(graph, sample, question, graph.search(sample.vectors, _candidates(graph), steps))


class _Walked(NamedTuple):
    recall: float
    compared: float


def _recall_among(graph: GraphIndex, sample: Sample, question: _Question, steps: int) -> _Walked:
    """Return the recall of walks among a selection, and how many vectors each compared, about."""
    assert question.selection is not None
    selected = np.flatnonzero(question.selection & (graph.positions != ABSENT)).astype(np.int32)
    count = min(_COUNTED, max(1, graph.slots))
    walked = graph.walk(sample.vectors, count, steps, bitmap(selected, graph.slots))
    met = np.count_nonzero(walked != ABSENT, axis=1).mean()
    compared = met * graph.slots / max(1, len(selected))
    return _Walked(_found(graph, sample, question, walked[:, : _candidates(graph)]), float(compared))


def _candidates(graph: GraphIndex) -> int:
    return NEAREST + 1 + graph.more_than(NEAREST)


def _found(graph: GraphIndex, sample: Sample, question: _Question, slots: npt.NDArray[np.int64]) -> float:
    """Return the share of the true nearest that is among the slots int64[s, k] found for each vector of a sample."""
    hits = wanted = 0
    for row, own, nearest in zip(slots, sample.positions, question.truth, strict=True):
        # What was deleted since the truth was looked for cannot be found.
        true = nearest[graph.slots_of(nearest) != ABSENT]
        wanted += len(true)
        positions = graph.positions[row[row != ABSENT]]
        found = positions[positions != own]
        hits += len(np.intersect1d(found if graph.exact_rows is None else found[:NEAREST], true))
    return hits / max(1, wanted)
