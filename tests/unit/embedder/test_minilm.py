"""The local model against its published behaviour."""

import math

import numpy as np
import pytest

from services.embedder.minilm import DIMENSION, MAX_WORD_PIECES, gelu, loaded_model

SENTENCES = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
#: Cosines of the sentences as the model's publishers show them, to four places.
PUBLISHED = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]


def test_similarities_are_the_published_ones() -> None:
    vectors = loaded_model().embed(SENTENCES)

    assert vectors @ vectors.T == pytest.approx(np.array(PUBLISHED), abs=6e-5)


def test_vectors_have_length_one() -> None:
    vectors = loaded_model().embed([*SENTENCES, "", "word " * 500])

    assert vectors.shape == (5, DIMENSION)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)


def test_a_text_has_the_same_vector_alone_and_among_longer_ones() -> None:
    among = loaded_model().embed([SENTENCES[0], "a much longer text " * 30, *SENTENCES[1:]])

    assert among[0] == pytest.approx(loaded_model().embed(SENTENCES[:1])[0], abs=2e-6)


def test_vectors_come_in_the_order_of_the_texts() -> None:
    texts = [f"{'padding ' * (number % 7)}number {number}" for number in range(60)]
    together = loaded_model().embed(texts)

    for at in (0, 13, 59):
        assert together[at] == pytest.approx(loaded_model().embed([texts[at]])[0], abs=2e-6)


def test_a_text_is_cut_at_256_word_pieces() -> None:
    longest = "word " * (MAX_WORD_PIECES - 2)
    model = loaded_model()

    assert model.word_pieces(longest) == MAX_WORD_PIECES
    assert model.word_pieces(longest + "more words") == MAX_WORD_PIECES
    assert model.embed([longest])[0] == pytest.approx(model.embed([longest + "more words"])[0], abs=1e-6)


def test_a_text_is_lower_cased_as_the_model_was_trained() -> None:
    upper, lower = loaded_model().embed(["OCEAN under ICE", "ocean under ice"])

    assert upper == pytest.approx(lower, abs=1e-6)


def test_gelu_is_the_exact_one() -> None:
    values = np.linspace(-6, 6, 2001, dtype=np.float32)
    exact = [value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in values.tolist()]

    assert gelu(values.copy()) == pytest.approx(np.array(exact), abs=1e-6)
