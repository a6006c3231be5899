"""What ranks hold and keep of given blocks of a model, each answer kept by all that it depends on.

    held       blocks, shares of the tensor axis
    kept       the same, and those among whom it is shared out
    summed     over the tensor axis: the same, and sequence parallel

A search asks for it thousands of times, of plans that differ in other things: there are few answers. It knows weights
and shares, no bucket and no schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer
from plait.planner.alike import keepers_like
from plait.plans.holdings import Held, stages_weights
from plait.plans.keeping import kept_weights, longest_parts
from plait.plans.plan import Plan
from plait.plans.reductions import Reduction, sums_over_tensor
from plait.specs.model import ModelSpec

__all__ = [
    "Blocks",
    "blocks_at",
    "held_of",
    "keepers_among",
    "kept_of",
    "layers_of",
    "longest_of",
    "shared_out",
    "summed_over_tensor",
]

Blocks = tuple[tuple[int, int], ...]  # of each of a rank's stages, its blocks [start, stop) of the model


def blocks_at(plan: Plan, place: int) -> Blocks:
    """Those of the stages at a place along the pipeline axis."""
    ends = tuple(accumulate(plan.stages))
    return tuple((ends[stage] - plan.stages[stage], ends[stage]) for stage in plan.stages_at(place))


@lru_cache(maxsize=4096)
def layers_of(model: ModelSpec, blocks: Blocks) -> tuple[tuple[Layer, ...], ...]:
    """The layers of stages that have these blocks of a model: the embedding joins the first one, the head the last."""
    embedding, *every, head = describe_gpt(model)
    return tuple(
        (*(embedding,) * (start == 0), *every[start:stop], *(head,) * (stop == len(every))) for start, stop in blocks
    )


@lru_cache(maxsize=4096)
def held_of(model: ModelSpec, blocks: Blocks, shares: tuple[float, ...], tensor_rank: int) -> tuple[Held, ...]:
    """The weights of these blocks as a tensor rank holds them, where `shares` say how the axis splits them."""
    return stages_weights(layers_of(model, blocks), _split(shares), tensor_rank)


def shared_out(plan: Plan) -> Plan:
    """All of a plan that what is kept of given blocks depends on."""
    split = _split(plan.tensor_shares)
    if not plan.sharding_level:
        return split
    if plan.served:
        return replace(split, data=plan.data, synchronisation=plan.synchronisation, servers=plan.servers)
    return replace(split, data=plan.data, zero=1)


@lru_cache(maxsize=4096)
def kept_of(model: ModelSpec, blocks: Blocks, among: Plan, tensor_rank: int, data_rank: int) -> tuple[Held, ...]:
    """What a rank keeps of these blocks' weights that are `shared_out` so, without those of which it keeps nothing."""
    held = held_of(model, blocks, among.tensor_shares, tensor_rank)
    return tuple(one for one in kept_weights(held, among, data_rank) if one.elements)


@lru_cache(maxsize=4096)
def keepers_among(model: ModelSpec, blocks: Blocks, among: Plan, tensor_rank: int) -> tuple[int, ...]:
    """For each data rank one that keeps as much of them."""
    return keepers_like(held_of(model, blocks, among.tensor_shares, tensor_rank), among)


@lru_cache(maxsize=4096)
def longest_of(model: ModelSpec, blocks: Blocks, among: Plan, tensor_rank: int) -> Mapping[str, int]:
    """By weight the most elements that a data rank keeps of it."""
    return longest_parts(held_of(model, blocks, among.tensor_shares, tensor_rank), among)


@lru_cache(maxsize=4096)
def summed_over_tensor(
    model: ModelSpec, blocks: Blocks, among: Plan, sequence_parallel: bool, tensor_rank: int, data_rank: int
) -> tuple[Reduction, ...]:
    """The sums over the tensor axis of what a rank keeps."""
    kept = kept_of(model, blocks, among, tensor_rank, data_rank)
    return sums_over_tensor(kept, replace(among, sequence_parallel=sequence_parallel), tensor_rank)


def _split(shares: tuple[float, ...]) -> Plan:
    return Plan(stages=(), tensor=len(shares), tensor_shares=shares)
