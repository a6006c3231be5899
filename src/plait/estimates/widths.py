"""How many numbers a token is in attention on a tensor rank, and which part of the key/value heads that rank has.

    plain      queries  heads · d / t          keys, values  d · the KV heads that these queries read, at least one
    latent     queries, keys  heads · (plain + rotated) / t          values  heads · value / t
               beside them short vectors, which every tensor rank has whole

Products, messages and what is kept for backward all read these, so that a head is as wide in one price as in the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.estimates.arrangements import Column, Numbers
from plait.specs.model import ModelSpec

__all__ = ["Widths", "kv_copies", "kv_share", "widths"]


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Features of one token on a tensor rank, column by column. `attended`: what attention gives. `short`: of latent
    attention's short vectors, and `normed` of those that are normalised; 0 where there are none."""

    queries: Column
    keys: Column
    values: Column
    attended: Column
    short: float
    normed: float


def widths(model: ModelSpec, tensor: Numbers) -> Widths:
    """What a token is on each of so many tensor ranks."""
    keys = model.kv_heads if model.latent is None else model.heads
    latent = model.latent
    return Widths(
        queries=model.heads * model.key_dim / tensor,
        keys=keys * model.key_dim * kv_share(model, tensor),
        values=keys * model.value_dim * kv_share(model, tensor),
        attended=model.heads * model.value_dim / tensor,
        short=0.0 if latent is None else float(latent.query_rank + latent.kv_rank + latent.rotated),
        normed=0.0 if latent is None else float(latent.query_rank + latent.kv_rank),
    )


def kv_share(model: ModelSpec, tensor: Numbers) -> Column:
    """The part of all key/value heads that a tensor rank has: whole heads. Latent attention has as many as queries."""
    heads = model.kv_heads if model.latent is None else model.heads
    return np.maximum(1 / tensor, 1 / heads)


def kv_copies(model: ModelSpec, tensor: Numbers) -> Numbers:
    """How many tensor ranks, side by side, have the same key/value head."""
    heads = model.kv_heads if model.latent is None else model.heads
    return -(-tensor // heads)
