"""The end of a language model: hidden values to logits over the vocabulary, and logits to the loss.

Both are slots: a head that is split over the vocabulary holds some columns of the logits, and its loss sums over all.
"""

from __future__ import annotations

from torch import Tensor

from plait.models.linear import Linear
from plait.models.loss import cross_entropy_sum
from plait.models.slots import CrossEntropy, Enter, identity

__all__ = ["Head"]


class Head(Linear):
    """(batch, sequence, hidden) to logits (batch, sequence, vocab). Slots `enter(x)`, `multiply` as any Linear, and
    `cross_entropy(logits, targets) -> scalar sum`."""

    def __init__(self, hidden: int, vocab: int) -> None:
        super().__init__(hidden, vocab, bias=False)
        self.enter: Enter = identity
        self.cross_entropy: CrossEntropy = cross_entropy_sum

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.enter(x))
