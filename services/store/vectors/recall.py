"""How far searches of a graph have to walk, measured on the collection itself."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from services.store.vectors.flat import NONE_RANKED, nearest_rows, ranked
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
    """An effort, and the recall that was measured with it (None: never measured) among so many vectors.

    `target` is the recall that was asked for then.
    """

    walk: int = 128
    recall: float | None = None
    vectors: int = 0
    target: float = 0.0


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


def least_effort(
    graph: GraphIndex, sample: Sample, portions: Iterator[tuple[Positions, Vectors]], target: float
) -> Effort:
    """Return the least effort whose searches find the `target` share of the true nearest, or the greatest one.

    `portions` are all vectors of the graph with their positions, exact and prepared.
    """
    truth = exact_nearest(graph, sample, portions)
    reached = Effort()
    low, high = 0, len(EFFORTS) - 1
    while low <= high:
        middle = (low + high) // 2
        recall = _recall(graph, sample, truth, EFFORTS[middle])
        if recall >= target:
            reached, high = Effort(EFFORTS[middle], recall, len(graph), target), middle - 1
        else:
            low = middle + 1
            if middle == len(EFFORTS) - 1:
                reached = Effort(EFFORTS[middle], recall, len(graph), target)
    return reached


def exact_nearest(graph: GraphIndex, sample: Sample, portions: Iterator[tuple[Positions, Vectors]]) -> list[Positions]:
    """Return the positions of the true nearest of each vector of a sample, itself left out, from all vectors."""
    best = [NONE_RANKED] * len(sample)
    for positions, rows in portions:
        if not len(rows):
            continue
        found = nearest_rows(sample.vectors, rows, min(NEAREST + 1, len(rows)), graph.metric)
        for number, (query, nearest) in enumerate(zip(sample.vectors, found, strict=True)):
            scores = exact_scores(query, rows[nearest], graph.metric)
            merged = np.concatenate([best[number].positions, positions[nearest]])
            best[number] = ranked(merged, np.concatenate([best[number].scores, scores])).first(NEAREST + 1)
    return [item.positions[item.positions != own][:NEAREST] for item, own in zip(best, sample.positions, strict=True)]


def _recall(graph: GraphIndex, sample: Sample, truth: list[Positions], effort: int) -> float:
    # As searches do, which compare some candidates more than they are asked for by the exact vectors.
    slots = graph.search(sample.vectors, NEAREST + 1 + graph.more_than(NEAREST), effort)
    hits = wanted = 0
    for row, own, nearest in zip(slots, sample.positions, truth, strict=True):
        # What was deleted since the truth was looked for cannot be found.
        true = nearest[graph.slots_of(nearest) != ABSENT]
        wanted += len(true)
        positions = graph.positions[row[row != ABSENT]]
        found = positions[positions != own]
        hits += len(np.intersect1d(found if graph.exact_rows is None else found[:NEAREST], true))
    return hits / max(1, wanted)
