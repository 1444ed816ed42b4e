"""How far searches of a graph have to walk, measured on the collection itself."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.store.vectors.flat import Ranked, nearest_rows, ranked
from services.store.vectors.graph import GraphIndex
from services.store.vectors.places import ABSENT, Positions
from services.store.vectors.similarity import Vectors, exact_scores

#: Searches that recall is measured with, and how many nearest each has to find.
SAMPLE = 128
NEAREST = 10
#: Efforts that are tried.
EFFORTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True, slots=True)
class Effort:
    """An effort, and the recall that was measured with it (None: never measured) among so many vectors."""

    walk: int = 128
    recall: float | None = None
    vectors: int = 0


def least_effort(
    graph: GraphIndex, sample: Vectors, portions: Iterator[tuple[Positions, Vectors]], target: float
) -> Effort:
    """Return the least effort whose searches find the `target` share of the true nearest, or the greatest one.

    `sample` float32[s, d] are prepared vectors of the collection that are not in the graph: the graph was built
    around those it has, which are found more easily than what is searched for later. `portions` are all vectors of
    the graph with their positions, exact and prepared.
    """
    truth = exact_nearest(graph, sample, portions)
    reached = Effort()
    low, high = 0, len(EFFORTS) - 1
    while low <= high:
        middle = (low + high) // 2
        recall = _recall(graph, sample, truth, EFFORTS[middle])
        if recall >= target:
            reached, high = Effort(EFFORTS[middle], recall, len(graph)), middle - 1
        else:
            low = middle + 1
            if reached.recall is None and middle == len(EFFORTS) - 1:
                reached = Effort(EFFORTS[middle], recall, len(graph))
    return reached


def exact_nearest(graph: GraphIndex, sample: Vectors, portions: Iterator[tuple[Positions, Vectors]]) -> list[Positions]:
    """Return the positions of the true nearest of each prepared query float32[s, d], from all vectors."""
    best = [Ranked(np.empty(0, np.int64), np.empty(0, np.float64))] * len(sample)
    for positions, rows in portions:
        if not len(rows):
            continue
        found = nearest_rows(sample, rows, min(NEAREST, len(rows)), graph.metric)
        for number, (query, nearest) in enumerate(zip(sample, found, strict=True)):
            scores = exact_scores(query, rows[nearest], graph.metric)
            merged = np.concatenate([best[number].positions, positions[nearest]])
            best[number] = ranked(merged, np.concatenate([best[number].scores, scores])).first(NEAREST)
    return [item.positions for item in best]


def _recall(graph: GraphIndex, sample: Vectors, truth: list[Positions], effort: int) -> float:
    # As searches do, which compare some candidates more than they are asked for by the exact vectors.
    slots = graph.search(sample, NEAREST + graph.more_than(NEAREST), effort)
    found = [_positions(graph, row) for row in slots]
    hits = sum(len(np.intersect1d(near, true)) for near, true in zip(found, truth, strict=True))
    return hits / max(1, sum(map(len, truth)))


def _positions(graph: GraphIndex, slots: npt.NDArray[np.int64]) -> Positions:
    positions = graph.positions[slots[slots != ABSENT]]
    return np.asarray(positions if graph.exact_rows is None else positions[:NEAREST])
