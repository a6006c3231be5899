"""An interpolated bigram, the rival that a trained network must beat.

Kneser-Ney (Kneser and Ney, 1995), interpolated down to the uniform distribution:

    p(w | v) = max(count(v w) - D, 0) / count(v .)  +  D * kinds(v .) / count(v .) * q(w)
    q(w)     = max(kinds(. w) - D, 0) / kinds(. .)  +  D * words / kinds(. .) / vocab

where kinds counts distinct pairs and words distinct second words. q may also count tokens instead of kinds (absolute
discounting). The discount D and the choice of q are the best on the last tenth of the training tokens; then the counts
are taken of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.integer]
DISCOUNTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True, kw_only=True)
class Bigram:
    """Counts of a text, and how to smooth them."""

    pairs: npt.NDArray[np.int64]  # (vocab, vocab): count(v w)
    discount: float
    kinds: bool

    def probabilities(self, first: Tokens, second: Tokens) -> npt.NDArray[np.float64]:
        """p(second | first), elementwise."""
        pairs, discount = self.pairs, self.discount
        fallback = self._fallback()
        follow, kinds = pairs.sum(axis=1), (pairs > 0).sum(axis=1)
        seen = np.maximum(follow, 1)[first]
        weight = np.where(follow[first] > 0, discount * kinds[first] / seen, 1.0)
        return np.maximum(pairs[first, second] - discount, 0) / seen + weight * fallback[second]

    def _fallback(self) -> npt.NDArray[np.float64]:
        counts = (self.pairs > 0).sum(axis=0) if self.kinds else self.pairs.sum(axis=0)
        freed = self.discount * (counts > 0).sum() / counts.sum()
        return np.maximum(counts - self.discount, 0) / counts.sum() + freed / len(counts)


def bits(model: Bigram, tokens: Tokens) -> float:
    """The bits of all tokens but the first, which has no context."""
    tokens = np.asarray(tokens, dtype=np.int64)
    return float(-np.log2(model.probabilities(tokens[:-1], tokens[1:])).sum())


def count_pairs(tokens: Tokens, vocab: int) -> npt.NDArray[np.int64]:
    tokens = np.asarray(tokens, dtype=np.int64)
    return np.bincount(tokens[:-1] * vocab + tokens[1:], minlength=vocab * vocab).reshape(vocab, vocab)


def fit(tokens: Tokens, vocab: int) -> Bigram:
    """Choose on the last tenth, then count everything."""
    cut = len(tokens) * 9 // 10
    pairs = count_pairs(tokens[:cut], vocab)
    tried = [Bigram(pairs=pairs, discount=discount, kinds=kinds) for discount in DISCOUNTS for kinds in (True, False)]
    best = min(tried, key=lambda model: bits(model, tokens[cut:]))
    return Bigram(pairs=count_pairs(tokens, vocab), discount=best.discount, kinds=best.kinds)


def bits_per_byte(train_tokens: Tokens, heldout_tokens: Tokens, heldout_bytes: int, vocab: int) -> float:
    """What the bigram needs for a byte of the held-out text, its first token not counted."""
    return bits(fit(train_tokens, vocab), heldout_tokens) / heldout_bytes
