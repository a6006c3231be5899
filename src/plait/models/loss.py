"""The loss of a microbatch: a sum over its targets, never a mean, so that whoever knows the global count can divide."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["IGNORED", "cross_entropy_sum"]

IGNORED = -100  # the target of a token that is not to be predicted


def cross_entropy_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum, in float32 or wider, of −log softmax(logits)[target] over all targets but `IGNORED`.

    `logits` (batch, sequence, vocab), `targets` (batch, sequence); a scalar, 0 where nothing is to be predicted.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    return F.cross_entropy(logits.flatten(0, 1).to(wide), targets.flatten(), ignore_index=IGNORED, reduction="sum")
