"""Dropout whose mask is a function of (seed, step, name, global position), and so of no layout and of no history.

    residual stream          position = (sample · span + token) · hidden + feature
    attention probabilities  position = ((sample · heads + head) · span + query) · span + key

where span is the model's longest sequence, and every number is global. Recomputing a forward draws the same mask, and
so does any rank that holds the same value.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from plait.models.sequences import Sequences
from plait.models.slots import Share, identity
from plait.random.mask import dropout
from plait.random.words import stream_key
from plait.specs.model import ModelSpec

__all__ = ["Dropout"]


class Dropout(nn.Module):
    """Drops with `probability`, in training only. Slot `share(rows)`: of the (batch, sequence) numbers of all tokens,
    those whose values this caller holds; the default is all of them."""

    def __init__(self, name: str, *, probability: float, span: int, seed: int) -> None:
        super().__init__()
        self.name, self.probability, self.span, self.seed = name, probability, span, seed
        self.share: Share = identity

    @classmethod
    def of(cls, spec: ModelSpec, name: str, seed: int) -> Dropout:
        """The dropout called `name` of a model of this shape."""
        return cls(name, probability=spec.dropout, span=spec.max_positions, seed=seed)

    @property
    def active(self) -> bool:
        """Whether anything is dropped now."""
        return self.training and self.probability > 0

    def forward(self, x: Tensor, sequences: Sequences) -> Tensor:
        """Drop features of the residual stream, (batch, sequence, hidden)."""
        if not self.active:
            return x
        rows = self.share(sequences.samples[:, None] * self.span + sequences.positions)
        features = torch.arange(x.shape[-1], device=x.device)
        return self.at(rows[..., None] * x.shape[-1] + features, x, sequences)

    def attention(self, weights: Tensor, sequences: Sequences, *, heads: int, first_head: int) -> Tensor:
        """Drop attention probabilities, (batch, local heads, query, key), of a model with `heads` heads."""
        head = torch.arange(first_head, first_head + weights.shape[1], device=weights.device)
        rows = sequences.samples[:, None] * heads + head  # (batch, local heads)
        query, key = sequences.positions[:, None, :, None], sequences.positions[:, None, None, :]
        return self.at((rows[..., None, None] * self.span + query) * self.span + key, weights, sequences)

    def at(self, positions: Tensor, x: Tensor, sequences: Sequences) -> Tensor:
        """Drop the values `x` that stand at the global `positions`, of the same shape."""
        return dropout(x, stream_key(self.seed, self.name, sequences.step), positions, self.probability)
