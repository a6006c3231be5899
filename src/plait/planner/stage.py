"""What one rank's stages hold and sum: all of a plan that neither the microbatch nor the schedule changes.

A search asks for it hundreds of times and it has few answers, so they are kept. It knows weights and shares, no costs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer
from plait.planner.alike import keepers_like, stage_like
from plait.plans.fetching import Unit, units
from plait.plans.holdings import Held, rank_layers, rank_weights
from plait.plans.keeping import kept_weights, most_kept
from plait.plans.plan import Plan
from plait.plans.reductions import Reduction, reductions
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["Stage", "kinds_of", "stage_of"]


@dataclass(frozen=True, kw_only=True, eq=False)  # there is one of each: what is worked out for it is kept by identity
class Stage:
    """The layers of a rank's stages (in `parts`, by its stages), its weights as the rank holds them (`elements` in
    all), what it keeps of them (`kept_elements` in all; without those of which it keeps nothing), and the sums of
    gradients that it takes part in. `keepers`: for each data rank one that keeps as much; `longest`: by weight the most
    elements that one keeps."""

    parts: tuple[tuple[Layer, ...], ...]
    held: tuple[Held, ...]
    kept: tuple[Held, ...]
    sums: tuple[Reduction, ...]
    elements: int
    kept_elements: int
    keepers: tuple[int, ...]
    longest: Mapping[str, int]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Those of all its stages, in forward order."""
        return tuple(layer for part in self.parts for layer in part)

    @cached_property
    def buckets(self) -> tuple[tuple[Held, ...], ...]:
        """The weights whose gradients travel together along the data axis."""
        by_name = {one.weight.name: one for one in self.held}
        return tuple(tuple(by_name[piece.name] for piece in one.pieces) for one in self.sums if one.axis == "data")

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """Its weights, as they are fetched together."""
        return units(self.layers, self.held)

    @cached_property
    def kinds(self) -> tuple[tuple[Layer, int], ...]:
        """One layer of each kind and how many there are: the blocks of a model are alike."""
        return kinds_of(self.layers)


def kinds_of(layers: Sequence[Layer]) -> tuple[tuple[Layer, int], ...]:
    """One layer of each kind among these and how many there are."""
    counts = Counter(layer.kind for layer in layers)
    first = {layer.kind: layer for layer in reversed(layers)}
    return tuple((first[kind], count) for kind, count in counts.items())


def stage_of(model: ModelSpec, training: TrainingSpec, plan: Plan, rank: int) -> Stage:
    """The stage of `rank`; ranks that differ along the data axis alone have the same, but under ZeRO."""
    itemsize = ITEMSIZE[PRECISIONS[training.precision].reduce]
    mesh = plan.mesh
    place, tensor_rank = mesh.coordinate(rank, "pipeline"), mesh.coordinate(rank, "tensor")
    data_rank = mesh.coordinate(rank, "data") if plan.sharding_level else 0
    alone = plan.stage_rank == tuple(range(plan.pipeline))  # the schedule then doesn't say where stages stand
    asked = replace(plan, microbatch=1, schedule="1f1b" if alone else plan.schedule, data_shares=())
    like = stage_like(plan.stages, place) if alone else place
    return _known(model, asked, like, data_rank, tensor_rank, itemsize)


@lru_cache(maxsize=16384)
def _known(model: ModelSpec, plan: Plan, place: int, data_rank: int, tensor_rank: int, itemsize: int) -> Stage:
    layers = describe_gpt(model)
    held = rank_weights(layers, plan, place, tensor_rank)
    keepers = keepers_like(held, plan)
    if keepers[data_rank] != data_rank:
        return _known(model, plan, place, keepers[data_rank], tensor_rank, itemsize)
    kept = tuple(one for one in kept_weights(held, plan, data_rank) if one.elements)
    rank = plan.mesh.rank_at(pipeline=place, data=data_rank, tensor=tensor_rank)
    return Stage(
        parts=rank_layers(layers, plan, place),
        held=held,
        kept=kept,
        sums=reductions(layers, plan, rank, itemsize),
        elements=sum(one.elements for one in held),
        kept_elements=sum(one.elements for one in kept),
        keepers=keepers,
        longest={one.weight.name: most_kept([one], plan) for one in held},
    )
