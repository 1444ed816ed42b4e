"""Vectors without texts, for sizes that would take hours to embed: points that lie as those of a language model do.

The recipe: cluster centres are Gaussian in 48 dimensions whose spread falls like the inverse square root of their
number; sizes of clusters follow Zipf's law; the points of a cluster lie around its centre with 0.7 of that spread. All
of it is rotated into 384 dimensions, gets Gaussian noise of 0.02 in each, and is scaled to length one. Uniform noise in
384 dimensions would have no near neighbours at all, and a graph's recall on it would mean nothing.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

DIMENSION = 384
_LATENT = 48
_CLUSTERS = 1000
_WITHIN = 0.7
_NOISE = 0.02
_CHUNK = 10_000
_SEED = 11

Float32 = NDArray[np.float32]


def synthetic_vectors(count: int) -> Float32:
    """Return float32[count, 384]; of a larger count, the first are the same."""
    return np.concatenate(list(_chunks(count)))[:count]


def synthetic_text(number: int) -> str:
    """Return what a document without a text of its own says: about as long as a sentence."""
    return f"Document {number} of a synthetic collection, about subject {number * 7919 % 10007}, and no more than that."


def _chunks(count: int) -> Iterator[Float32]:
    shape = np.random.default_rng(_SEED)
    spread = (np.arange(1, _LATENT + 1) ** -0.5).astype(np.float32)
    centres = shape.standard_normal((_CLUSTERS, _LATENT), np.float32) * spread
    rotation = np.linalg.qr(shape.standard_normal((DIMENSION, _LATENT)))[0].T.astype(np.float32)
    weights = 1 / np.arange(1, _CLUSTERS + 1)
    for number in range(-(-count // _CHUNK)):
        random = np.random.default_rng((_SEED, number))
        clusters = random.choice(_CLUSTERS, _CHUNK, p=weights / weights.sum())
        points = centres[clusters] + _WITHIN * spread * random.standard_normal((_CHUNK, _LATENT), np.float32)
        vectors = points @ rotation + _NOISE * random.standard_normal((_CHUNK, DIMENSION), np.float32)
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
