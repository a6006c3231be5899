"""What one rank's stages hold and sum: all of a plan that neither the microbatch nor the schedule changes.

A search asks for it hundreds of times and it has few answers, so they are kept. It knows weights and shares, no costs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer
from plait.plans.holdings import Held, rank_layers, rank_weights
from plait.plans.keeping import kept_weights
from plait.plans.plan import Plan
from plait.plans.reductions import Reduction, reductions
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["Stage", "kinds_of", "stage_of"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The layers of a rank's stages (in `parts`, by its stages), its weights as the rank holds them (`elements` in
    all), what it keeps of them (`kept_elements` in all; without those of which it keeps nothing), and the sums of
    gradients that it takes part in."""

    parts: tuple[tuple[Layer, ...], ...]
    held: tuple[Held, ...]
    kept: tuple[Held, ...]
    sums: tuple[Reduction, ...]
    elements: int
    kept_elements: int

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Those of all its stages, in forward order."""
        return tuple(layer for part in self.parts for layer in part)

    @property
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
    place, tensor_rank = plan.mesh.coordinate(rank, "pipeline"), plan.mesh.coordinate(rank, "tensor")
    data_rank = plan.mesh.coordinate(rank, "data") if plan.sharding_level else 0
    alike = plan.schedule if plan.stage_rank != tuple(range(plan.pipeline)) else "1f1b"  # but for where stages stand
    return _stage(model, replace(plan, microbatch=1, schedule=alike), place, data_rank, tensor_rank, itemsize)


@lru_cache(maxsize=4096)
def _stage(model: ModelSpec, plan: Plan, place: int, data_rank: int, tensor_rank: int, itemsize: int) -> Stage:
    layers = describe_gpt(model)
    rank = plan.mesh.rank_at(pipeline=place, data=data_rank, tensor=tensor_rank)
    held = rank_weights(layers, plan, place, tensor_rank)
    kept = tuple(one for one in kept_weights(held, plan, data_rank) if one.elements)
    return Stage(
        parts=rank_layers(layers, plan, place),
        held=held,
        kept=kept,
        sums=reductions(layers, plan, rank, itemsize),
        elements=sum(one.elements for one in held),
        kept_elements=sum(one.elements for one in kept),
    )
