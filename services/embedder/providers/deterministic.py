"""Vectors made of a text's hash: the same for the same text, unlike for any other. For tests of what is around it.

They say nothing of a text's meaning, so the provider is switched off unless an operator allows it.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from services.embedder.providers.wire import Answer, Float32


def embed(texts: Sequence[str], dimension: int) -> Answer:
    """Return float32[n, dimension] of length one. Uniform in each direction: SHAKE-256 of the text, as int16."""
    return Answer(np.stack([_vector(text, dimension) for text in texts]))


def _vector(text: str, dimension: int) -> Float32:
    digest = hashlib.shake_256(text.encode()).digest(2 * dimension)
    # Half a step off the integers, so that no vector is zero.
    values = np.frombuffer(digest, "<i2").astype(np.float64) + 0.5
    return (values / np.linalg.norm(values)).astype(np.float32)
