"""From logits to the next token: the most probable, or a draw by Gumbel-max.

    logits ─ /temperature ─ top-k ─ top-p ─► the tokens that are left ─ + noise ─► the largest

The noise of a token is a function of (seed, position, token id) and of nothing else: not of the batch, of how often
anything was drawn before, or of which other tokens are left (Gumbel, 1954; argmax of logit + noise is a draw from their
softmax). A vocabulary in parts can so be drawn from in parts. Ties at the edge of top-k or top-p are kept, all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from plait.errors import UnusableInput
from plait.random.words import stream_key, torch_words

__all__ = ["Sampling", "gumbel_noise", "kept", "sample"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How one request draws. `temperature` 0 takes the most probable token; `top_k` 0 and `top_p` 1 leave all.

    Raises UnusableInput for a value that is none of those.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UnusableInput(f"temperature = {self.temperature}: a number from 0 (the most probable token) on")
        if self.top_k < 0:
            raise UnusableInput(f"top-k = {self.top_k}: a whole number of tokens to draw from, or 0 for all of them")
        if not 0 < self.top_p <= 1:
            raise UnusableInput(f"top-p = {self.top_p}: a probability above 0, up to 1 for all tokens")


def sample(logits: Tensor, sampling: Sampling, position: int) -> int:
    """The token at `position` (the number of tokens before it), given its logits (vocab,).

    Raises UnusableInput where the logits are not finite: the weights are not those of a model that learnt.
    """
    logits = logits.double()
    peak, best = logits.max(0)
    if not peak.isfinite():
        raise UnusableInput("the model's logits are not finite: its training has diverged, or its weights are wrong")
    if sampling.temperature == 0:
        return int(best)
    scores = (logits - peak) / sampling.temperature
    tokens = kept(scores, sampling)
    return int(tokens[(scores[tokens] + gumbel_noise(sampling.seed, position, tokens)).argmax()])


def kept(scores: Tensor, sampling: Sampling) -> Tensor:
    """The tokens, in order, that top-k and then top-p leave of `scores` (vocab,), logits over the temperature."""
    least: Tensor | float = -math.inf
    if 0 < sampling.top_k < len(scores):
        least = scores.topk(sampling.top_k).values[-1]
    if sampling.top_p < 1:
        ordered = scores[scores >= least].sort(descending=True).values
        before = ordered.softmax(0).cumsum(0).roll(1)  # the probability of all tokens that are more probable
        before[0] = 0
        least = ordered[int((before < sampling.top_p).sum()) - 1]
    return (scores >= least).nonzero().squeeze(1)


def gumbel_noise(seed: int, position: int, tokens: Tensor) -> Tensor:
    """The noise of each token id (int64, any shape) at one position: float64, standard Gumbel."""
    words = torch_words(stream_key(seed, "sampling", position), tokens)
    uniform = (((words >> 11) & ((1 << 53) - 1)).double() + 0.5) * 2.0**-53  # in (0, 1), both ends excluded
    return -(-uniform.log()).log()
