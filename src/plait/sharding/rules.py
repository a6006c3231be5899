"""The sharding rules: for each index, value and weight, and for its gradient, where it lives along the tensor axis.

The residual stream is Replicate, or Shard(sequence) under sequence parallel. Between a layer's `enter` and `leave` the
features are split; what happens at the two crossings follows from these placements by `redistribute`:

                 value                       gradient
    enter        residual → Replicate        Partial  → residual       (each rank's product gives a partial gradient)
    leave        Partial  → residual         residual → Replicate
    loss         Partial  → Replicate        nothing to move: every rank has the whole loss
"""

from __future__ import annotations

from typing import Literal

from plait.layers.layer import Index, Weight
from plait.sharding.placement import Partial, Placement, Replicate, Shard
from plait.sharding.redistribute import Move, Transition

__all__ = ["SEQUENCE_DIM", "crossing", "gradient_placement", "is_split", "residual_placement", "weight_placement"]

SEQUENCE_DIM = 1  # of every activation: (batch, sequence, features)

_SPLIT: frozenset[Index] = frozenset({"heads", "kv_heads", "ffn", "vocab"})


def is_split(index: Index) -> bool:
    """Whether the tensor axis splits this index."""
    return index in _SPLIT


def weight_placement(weight: Weight) -> Placement:
    """Where a weight lives along the tensor axis: split along the one dim whose index is, else replicated."""
    for number, dim in enumerate(weight.dims):
        if any(is_split(part.index) for part in dim.parts):
            return Shard(number)
    return Replicate()


def gradient_placement(weight: Weight, *, sequence_parallel: bool) -> Placement:
    """Where a weight's gradient lives after backward: a replicated weight acts on the residual stream, so that
    each rank sees only its part of the sequence where that stream is split."""
    placement = weight_placement(weight)
    return Partial() if placement == Replicate() and sequence_parallel else placement


def residual_placement(*, sequence_parallel: bool) -> Placement:
    """Where the residual stream lives along the tensor axis."""
    return Shard(SEQUENCE_DIM) if sequence_parallel else Replicate()


def crossing(kind: Literal["enter", "leave"], *, sequence_parallel: bool) -> Transition:
    """What happens where a value enters or leaves the split part of a layer."""
    residual = residual_placement(sequence_parallel=sequence_parallel)
    if kind == "enter":
        return Transition(
            value=Move(source=residual, target=Replicate()), gradient=Move(source=Partial(), target=residual)
        )
    return Transition(value=Move(source=Partial(), target=residual), gradient=Move(source=residual, target=Replicate()))
