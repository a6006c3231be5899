"""What one rank's stages hold and sum: all of a plan that neither the microbatch nor the schedule changes.

    what is held, and kept      `holding`'s
    sums over data              of what is held, in the plan's buckets
    later sums                  of what is kept

A search asks for it thousands of times: one that was asked for is kept, and what nobody asks of it is not worked out.
It knows weights and shares, no costs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer
from plait.planner.alike import places_like
from plait.planner.holding import (
    Blocks,
    blocks_at,
    held_of,
    keepers_among,
    kept_of,
    layers_of,
    longest_of,
    shared_out,
    summed_over_tensor,
)
from plait.plans.fetching import Unit, units
from plait.plans.holdings import Held, tied_places
from plait.plans.plan import Plan
from plait.plans.reductions import MET_EACH_ROUND, Reduction, sums_over_data, sums_over_stages
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["Stage", "keepers_of", "kinds_of", "placing", "stage_of", "stages_of"]


@dataclass(frozen=True, kw_only=True, eq=False)  # there is one of each
class Stage:
    """A rank's stages, at `place` along the pipeline axis of a `plan` of which only what matters here is told."""

    model: ModelSpec
    plan: Plan
    place: int
    data_rank: int
    tensor_rank: int
    itemsize: int

    @cached_property
    def blocks(self) -> Blocks:
        """Those of each of its stages."""
        return blocks_at(self.plan, self.place)

    @cached_property
    def among(self) -> Plan:
        """How what it holds is shared out."""
        return shared_out(self.plan)

    @cached_property
    def parts(self) -> tuple[tuple[Layer, ...], ...]:
        """The layers of each of its stages."""
        return layers_of(self.model, self.blocks)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Those of all its stages, in forward order."""
        return tuple(layer for part in self.parts for layer in part)

    @cached_property
    def kinds(self) -> tuple[tuple[Layer, int], ...]:
        """One layer of each kind and how many there are: the blocks of a model are alike."""
        return kinds_of(self.layers)

    @cached_property
    def kinds_by_part(self) -> tuple[tuple[tuple[Layer, int], ...], ...]:
        """The same of each of its stages."""
        return tuple(map(kinds_of, self.parts))

    @cached_property
    def held(self) -> tuple[Held, ...]:
        """Its weights as the rank holds them."""
        return held_of(self.model, self.blocks, self.plan.tensor_shares, self.tensor_rank)

    @cached_property
    def elements(self) -> int:
        """Of all it holds."""
        return sum(one.elements for one in self.held)

    @cached_property
    def kept(self) -> tuple[Held, ...]:
        """What the rank keeps of them, without those of which it keeps nothing."""
        return kept_of(self.model, self.blocks, self.among, self.tensor_rank, self.data_rank)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Elements of each weight as far as it is kept."""
        return tuple(one.elements for one in self.kept)

    @cached_property
    def kept_elements(self) -> int:
        """Of all it keeps."""
        return sum(self.sizes)

    @cached_property
    def over_data(self) -> tuple[Reduction, ...]:
        """The sums of gradients over the data axis that it takes part in."""
        return sums_over_data(self.held, self.plan, self.data_rank, self.itemsize, self.longest)

    @cached_property
    def later(self) -> tuple[Reduction, ...]:
        """Those that follow, over the other axes."""
        parallel, ranks = self.plan.sequence_parallel, (self.tensor_rank, self.data_rank)
        over_tensor = summed_over_tensor(self.model, self.blocks, self.among, parallel, *ranks)
        return (*over_tensor, *sums_over_stages(self.kept, self.place, _tied(self.model, _placed(self.plan))))

    @cached_property
    def sums(self) -> tuple[Reduction, ...]:
        """All of them."""
        return (*self.over_data, *self.later)

    @cached_property
    def buckets(self) -> tuple[tuple[Held, ...], ...]:
        """The weights whose gradients travel together along the data axis."""
        by_name = {one.weight.name: one for one in self.held}
        return tuple(tuple(by_name[piece.name] for piece in one.pieces) for one in self.over_data)

    @cached_property
    def longest(self) -> Mapping[str, int]:
        """By weight the most elements that a data rank keeps of it."""
        return longest_of(self.model, self.blocks, self.among, self.tensor_rank)

    @cached_property
    def bucket_parts(self) -> tuple[int, ...]:
        """Of each sum over data the most elements that a data rank keeps."""
        return tuple(sum(self.longest.get(piece.name, 0) for piece in one.pieces) for one in self.over_data)

    @cached_property
    def leaves_after(self) -> tuple[int | None, ...]:
        """For each sum over data the layer of its first stage whose backward is the last to give it a gradient: a tied
        weight's when it has been at both places. None where all were there before: that stage goes backward last."""
        first = {
            weight.name: place for place, layer in reversed([*enumerate(self.parts[0])]) for weight in layer.weights
        }
        places = ([first[piece.name] for piece in one.pieces if piece.name in first] for one in self.over_data)
        return tuple(min(some, default=None) for some in places)

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """Its weights, as they are fetched together."""
        return units(self.layers, self.held)

    @cached_property
    def unit_elements(self) -> tuple[int, ...]:
        """Of each of these."""
        return tuple(one.elements for one in self.units)

    @cached_property
    def unit_parts(self) -> tuple[int, ...]:
        """Of each of these the most elements that a data rank keeps."""
        return tuple(sum(self.longest.get(one.weight.name, 0) for one in unit.weights) for unit in self.units)


def kinds_of(layers: Sequence[Layer]) -> tuple[tuple[Layer, int], ...]:
    """One layer of each kind among these and how many there are."""
    counts = Counter(layer.kind for layer in layers)
    first = {layer.kind: layer for layer in reversed(layers)}
    return tuple((first[kind], count) for kind, count in counts.items())


def stage_of(model: ModelSpec, training: TrainingSpec, plan: Plan, rank: int) -> Stage:
    """The stage of `rank`; ranks that differ along the data axis alone have the same, but under ZeRO."""
    place, data, tensor = (plan.mesh.coordinate(rank, axis) for axis in ("pipeline", "data", "tensor"))
    return _stage(model, training, _as_asked(plan), places_like(plan)[place], data, tensor)


def stages_of(
    model: ModelSpec, training: TrainingSpec, plan: Plan, *, data: int = 0, tensor: int = 0
) -> tuple[Stage, ...]:
    """Those of all places along the pipeline axis, at these places of the other axes; places that are alike have the
    same."""
    like, asked = places_like(plan), _as_asked(plan)
    known = {place: _stage(model, training, asked, place, data, tensor) for place in set(like)}
    return tuple(known[place] for place in like)


def keepers_of(model: ModelSpec, plan: Plan, place: int, tensor_rank: int) -> tuple[int, ...]:
    """For each data rank one that keeps as much of the weights at a place along the pipeline axis."""
    if not plan.sharding_level:
        return (0,) * plan.data
    return keepers_among(model, blocks_at(plan, places_like(plan)[place]), shared_out(plan), tensor_rank)


def placing(plan: Plan) -> str:
    """One schedule for all that place stages as the plan's does."""
    return "1f1b" if plan.stage_rank == tuple(range(plan.pipeline)) else plan.schedule


def _as_asked(plan: Plan) -> Plan:
    """All of a plan that its stages depend on."""
    zero = min(plan.zero, MET_EACH_ROUND)
    return replace(plan, microbatch=1, schedule=placing(plan), data_shares=(), zero=zero)


def _stage(model: ModelSpec, training: TrainingSpec, asked: Plan, place: int, data: int, tensor: int) -> Stage:
    if not asked.sharding_level:
        data = 0
    elif data:
        data = keepers_among(model, blocks_at(asked, place), shared_out(asked), tensor)[data]
    return _known(model, asked, place, data, tensor, ITEMSIZE[PRECISIONS[training.precision].reduce])


@lru_cache(maxsize=16384)
def _known(model: ModelSpec, asked: Plan, place: int, data: int, tensor: int, itemsize: int) -> Stage:
    return Stage(model=model, plan=asked, place=place, data_rank=data, tensor_rank=tensor, itemsize=itemsize)


def _placed(plan: Plan) -> Plan:
    """All of a plan that says where its stages stand."""
    return Plan(stages=plan.stages, pipeline=plan.pipeline, schedule=plan.schedule, virtual_stages=plan.virtual_stages)


@lru_cache(maxsize=1024)
def _tied(model: ModelSpec, placed: Plan) -> Mapping[str, tuple[int, ...]]:
    return tied_places(describe_gpt(model), placed)
