"""Figures about a vector index."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class IndexStatistics:
    """What an index holds and what it costs.

    `kind` is `exact` where every vector is compared, `graph` where a graph leads to the nearest. `vectors` can be
    found; `tombstones` were removed and still take room; `graph_vectors` are in the graph, the others are compared
    one by one. `search_effort` is how many candidates a search of the graph keeps, 0 without one. `recall` is the
    measured share of the truly nearest that searches find, None where it was never measured. `memory_bytes` is
    what the index takes.
    """

    kind: Literal["exact", "graph"]
    vectors: int
    memory_bytes: int
    tombstones: int = 0
    graph_vectors: int = 0
    search_effort: int = 0
    recall: float | None = None
