"""The rival is honest: its probabilities sum to 1, it finds a Markov source's entropy, and it beats simpler rivals."""

from __future__ import annotations

import numpy as np
import pytest

from tests.data.bigram import bits, bits_per_byte, fit


def markov(count: int, vocab: int, seed: int) -> tuple[np.ndarray, float]:
    """Tokens of a random Markov source, and its entropy in bits a token."""
    generator = np.random.default_rng(seed)
    matrix = np.random.default_rng(0).dirichlet(np.full(vocab, 0.3), size=vocab)
    edges = matrix.cumsum(axis=1)
    tokens = np.zeros(count, dtype=np.uint16)
    for place, draw in enumerate(generator.random(count - 1)):
        tokens[place + 1] = min(np.searchsorted(edges[tokens[place]], draw), vocab - 1)
    entropy = -(matrix * np.log2(np.maximum(matrix, 1e-300))).sum(axis=1)
    return tokens, float(entropy[tokens].mean())


def test_probabilities_sum_to_one_after_words_seen_and_unseen() -> None:
    model = fit(np.array([0, 1, 2, 0, 1, 1, 3, 0, 2, 0] * 3), 6)
    for first in range(6):
        assert model.probabilities(np.full(6, first), np.arange(6)).sum() == pytest.approx(1.0, abs=1e-12)


def test_it_comes_close_to_the_entropy_of_its_source_and_not_below() -> None:
    tokens, entropy = markov(60_000, 20, seed=1)
    heldout, _ = markov(20_000, 20, seed=2)
    needed = bits(fit(tokens, 20), heldout) / len(heldout)
    assert entropy * 0.98 < needed < entropy * 1.02


def test_bits_per_byte_divides_by_the_bytes() -> None:
    tokens, _ = markov(5_000, 20, seed=1)
    assert bits_per_byte(tokens[:4000], tokens[4000:], 500, 20) == bits(fit(tokens[:4000], 20), tokens[4000:]) / 500
