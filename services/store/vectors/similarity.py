"""What near means: the three metrics, and the similarity that answers show.

Formulas are the Data API's; larger is nearer. Vectors are float32[n, d] throughout.
"""

import enum

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


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
        return vectors
    # In float64, so that squares of large or tiny float32 neither overflow nor vanish.
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    scaled = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    return np.asarray(scaled, np.float32)


def similarity(scores: npt.NDArray[np.float32], metric: Metric) -> npt.NDArray[np.float32]:
    """Return float32[n] similarities of the scores of a search.

    Scores are inner products of prepared vectors (cosine, dot product) or squared distances (euclidean):
    (1 + cos) / 2, (1 + dot) / 2 and 1 / (1 + d²). Cosines are held within -1 and 1, which rounding may pass.
    """
    exact = scores.astype(np.float64)
    if metric is Metric.EUCLIDEAN:
        result = 1.0 / (1.0 + np.maximum(exact, 0.0))
    elif metric is Metric.COSINE:
        result = (1.0 + np.clip(exact, -1.0, 1.0)) / 2.0
    else:
        result = (1.0 + exact) / 2.0
    return np.asarray(result, np.float32)
