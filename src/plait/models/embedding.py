"""A table of rows, looked up by number: tokens, or learned positions.

The look-up is a slot: a table that is split over the vocabulary answers for its own rows and sums, and under sequence
parallelism a rank looks up the positions of its own part.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.models.slots import Lookup

__all__ = ["Embedding"]


class Embedding(nn.Module):
    """(batch, sequence) numbers to (batch, sequence, features). Slot `lookup(numbers, weight (rows, features))`."""

    def __init__(self, rows: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, features))
        self.lookup: Lookup = F.embedding

    def forward(self, numbers: Tensor) -> Tensor:
        return self.lookup(numbers, self.weight)
