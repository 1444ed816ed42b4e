"""The figures of a report by contender, case, kind of data and size."""

from benchmarks.store.cases import Report, Run
from benchmarks.store.dataset import DIMENSION, Kind

#: A FAISS HNSW32 graph's bytes for each vector: 64 links of four bytes at the bottom, a thirtieth of that above, and
#: where each vector's links begin.
GRAPH_BYTES = 64 * 4 + 32 * 4 / 31 + 12
VECTOR_BYTES = DIMENSION * 4
_MIB = 2**20


def runs_of(report: Report, kind: Kind, documents: int | None, case: str, contender: str) -> list[Run]:
    """Return the measurements of a contender, in the order of the rounds; of every size where none is given."""
    return [
        run
        for run in report.runs
        if (run.kind, run.case, run.contender) == (kind, case, contender) and documents in (None, run.documents)
    ]


def sizes(report: Report, kind: Kind) -> list[int]:
    """Return the sizes that collections of a kind of data were searched at."""
    return sorted({run.documents for run in report.runs if run.kind == kind and run.case.startswith("search-")})


def kinds(report: Report) -> list[Kind]:
    """Return the kinds of data there are measurements of."""
    return [kind for kind in ("real", "synthetic") if kind in report.data]


def least_mib(documents: int) -> float:
    """Return what vectors and a graph over them take at the least."""
    return documents * (VECTOR_BYTES + GRAPH_BYTES) / _MIB


def per_second(run: Run) -> float:
    """Return how many commands or documents a second."""
    return run.per_second


def indexed_per_second(run: Run) -> float | None:
    """Return how many documents a second until they were in the index."""
    return run.indexed_per_second


def p50(run: Run) -> float | None:
    """Return the median latency in milliseconds."""
    return run.p50_ms


def p95(run: Run) -> float | None:
    """Return the latency of the slowest twentieth in milliseconds."""
    return run.p95_ms


def recall(run: Run) -> float | None:
    """Return the share of the right documents among those that should have been found."""
    return run.recall
