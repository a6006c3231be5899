"""A matrix product with a weight, in either of the two orders in which checkpoints store one.

    stored (outer, inner)   y = x Wᵀ + b     Llama and most others
    stored (inner, outer)   y = x W + b      GPT-2 (`transposed`); a view turns it, nothing is copied

How the product is computed stands in a slot: whoever splits the weight puts there what sums or gathers. Weights are
allocated and not drawn: `models.init` or a checkpoint fills them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.models.slots import Multiply

__all__ = ["Linear"]


class Linear(nn.Module):
    """(…, inner) to (…, outer). Slot `multiply(x, weight (outer, inner), bias) -> y`."""

    def __init__(self, inner: int, outer: int, *, bias: bool, transposed: bool = False) -> None:
        super().__init__()
        self.transposed = transposed
        self.weight = nn.Parameter(torch.empty((inner, outer) if transposed else (outer, inner)))
        self.bias = nn.Parameter(torch.empty(outer)) if bias else None
        self.multiply: Multiply = F.linear

    @property
    def inner(self) -> int:
        """How many features the weight reads; fewer than in the whole model where it is a shard."""
        return self.weight.shape[0 if self.transposed else 1]

    def forward(self, x: Tensor) -> Tensor:
        return self.multiply(x, self.weight.t() if self.transposed else self.weight, self.bias)
