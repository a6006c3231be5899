"""What a stage keeps of each microbatch from its forward to its backward, and of all that it holds at once.

    held      3 of stage 0, 1 of stage 1          3 · what stage 0 saves + what stage 1 saves
    shared    what follows from positions alone   once a stage and microbatch, whoever names it

It knows what layers declare as saved, and how the tensor axis cuts it; no schedule but the numbers held.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer, Saved
from plait.planner.communication_volume import stage_message_bytes
from plait.planner.stage import Stage
from plait.plans.plan import Plan
from plait.sharding.boxes import local_size, shares
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, PrecisionPolicy, TrainingSpec

__all__ = ["SavedBytes", "most_held", "saved_by_part"]

_WIDE = 4  # at least float32


class SavedBytes(NamedTuple):
    """Of one stage for a whole microbatch, and for the last one, which may have fewer sequences."""

    whole: int
    last: int


def saved_by_part(stage: Stage, training: TrainingSpec, plan: Plan, sizes: Sequence[int]) -> tuple[SavedBytes, ...]:
    """What each of a rank's stages keeps of microbatches of so many sequences; nothing where there are none."""
    ends = [sizes[0], sizes[-1]] if sizes else []
    each = ([_saved_bytes(part, stage, training, plan, size) for size in ends] for part in stage.kinds_by_part)
    return tuple(SavedBytes(*saved) for saved in each if saved)


def most_held(saved: Sequence[SavedBytes], moments: Sequence[Sequence[int]], microbatches: int) -> int:
    """The most bytes at any of these moments, each of which holds so many of all microbatches of each stage; the last
    one is held after all others."""

    def at(held: Sequence[int]) -> int:
        return sum(
            one.whole * count if count < microbatches else one.whole * (count - 1) + one.last
            for one, count in zip(saved, held, strict=True)
        )

    return max(map(at, moments), default=0)


def _saved_bytes(
    kinds: Sequence[tuple[Layer, int]], stage: Stage, training: TrainingSpec, plan: Plan, microbatch: int
) -> int:
    """Of one microbatch of so many sequences, from forward to backward, and where that has two parts, to the second:
    what is shared, once; after the first stage, also what was received."""
    shared: dict[str, int] = {}
    total = 0
    for layer, count in kinds:
        own, in_common = _saved_by(layer.kind, stage.model, training, _Cut.of(plan), microbatch, stage.tensor_rank)
        total += own * count
        shared.update(in_common)
    begins = kinds[0][0].kind == "embedding"
    received = 0 if begins else stage_message_bytes(stage.model, training, plan, microbatch, stage.tensor_rank)
    return total + sum(shared.values()) + received


class _Cut(NamedTuple):
    """How the tensor axis cuts a layer: all of a plan that what is saved depends on."""

    tensor_shares: tuple[float, ...]
    sequence_parallel: bool

    @classmethod
    def of(cls, plan: Plan) -> _Cut:
        return cls(plan.tensor_shares, plan.sequence_parallel)


@lru_cache(maxsize=4096)
def _saved_by(
    kind: str, model: ModelSpec, training: TrainingSpec, cut: _Cut, microbatch: int, tensor_rank: int
) -> tuple[int, dict[str, int]]:
    """What a layer of this kind saves for itself, and what with others, by name."""
    layer = next(layer for layer in describe_gpt(model) if layer.kind == kind)
    own = sum(_size(one, training, cut, microbatch, tensor_rank) for one in layer.saved if not one.shared)
    shared = {one.name: _size(one, training, cut, microbatch, tensor_rank) for one in layer.saved if one.shared}
    return own, shared


def _size(saved: Saved, training: TrainingSpec, cut: _Cut, microbatch: int, tensor_rank: int) -> int:
    features = 1
    if saved.dim is not None:
        split = saved.lives == "split"
        features = local_size(saved.dim, cut.tensor_shares, tensor_rank) if split else saved.dim.size
    tokens = training.sequence_length
    if saved.lives == "residual" and cut.sequence_parallel:
        start, stop = shares(tokens, (1,) * len(cut.tensor_shares))[tensor_rank]
        tokens = stop - start
    pairs = training.sequence_length if saved.squared else 1
    rows = (1 if saved.shared else microbatch) * tokens * pairs
    return rows * features * _itemsize(saved, PRECISIONS[training.precision])


def _itemsize(saved: Saved, policy: PrecisionPolicy) -> int:
    compute = ITEMSIZE[policy.compute]
    return {"compute": compute, "wide": max(compute, _WIDE), "int64": 8, "bool": 1}[saved.dtype]
