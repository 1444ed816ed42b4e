"""What near means: the three metrics, and the similarity that answers show.

Formulas are the Data API's; larger is nearer. Vectors are float32[n, d] throughout; what decides an order is
computed in float64.
"""

import enum

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
#: Larger is nearer: inner products, or squared distances below zero.
Scores = npt.NDArray[np.float64]

#: The greatest number that float32 holds.
_GREATEST = float(np.finfo(np.float32).max)
#: Less than the length of any vector of float32 but zero.
_LEAST = 1e-300
#: Rows that are converted to float64 at a time.
_ROWS = 4096


class Metric(enum.Enum):
    """How near two vectors are."""

    COSINE = "cosine"
    DOT_PRODUCT = "dot_product"
    EUCLIDEAN = "euclidean"


def prepare(vectors: Vectors, metric: Metric) -> Vectors:
    """Return float32[n, d] as it is searched: scaled to length one for cosine, unchanged otherwise.

    A zero vector has no direction; it stays zero.
    """
    if metric is not Metric.COSINE:
        return np.ascontiguousarray(vectors, np.float32)
    # In float64, so that squares of large or tiny float32 neither overflow nor vanish.
    wide = vectors.astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", wide, wide))[:, np.newaxis]
    wide /= np.maximum(lengths, _LEAST)
    return wide.astype(np.float32)


def exact_scores(query: Vectors, rows: Vectors, metric: Metric) -> Scores:
    """Return float64[n] scores of prepared rows float32[n, d] for a prepared query float32[d].

    Each row is summed by itself, in one order: equal rows have equal scores, wherever they lie.
    """
    wide = query.astype(np.float64)
    scores = np.empty(len(rows), np.float64)
    for start in range(0, len(rows), _ROWS):
        portion = rows[start : start + _ROWS].astype(np.float64)
        if metric is Metric.EUCLIDEAN:
            scores[start : start + _ROWS] = -np.square(portion - wide).sum(axis=1)
        else:
            scores[start : start + _ROWS] = (portion * wide).sum(axis=1)
    return scores


def exact_scores_of_each(queries: Vectors, rows: Vectors, metric: Metric) -> Scores:
    """Return float64[q, k] scores of the prepared rows float32[q, k, d] of each prepared query float32[q, d].

    They are those of `exact_scores`, to the last bit.
    """
    wide = queries.astype(np.float64)[:, np.newaxis, :]
    if metric is Metric.EUCLIDEAN:
        return np.asarray(-np.square(rows - wide).sum(axis=2))
    return np.asarray((rows * wide).sum(axis=2))


def similarity(scores: Scores, metric: Metric) -> npt.NDArray[np.float32]:
    """Return float32[n] similarities of scores: (1 + cos) / 2, (1 + dot) / 2 and 1 / (1 + d²).

    Cosines are held within -1 and 1, which rounding may pass, and the others within what float32 can hold.
    """
    if metric is Metric.EUCLIDEAN:
        result = 1.0 / (1.0 - np.minimum(scores, 0.0))
    elif metric is Metric.COSINE:
        result = (1.0 + np.minimum(np.maximum(scores, -1.0), 1.0)) / 2.0
    else:
        result = np.minimum(np.maximum((1.0 + scores) / 2.0, -_GREATEST), _GREATEST)
    return result.astype(np.float32)
