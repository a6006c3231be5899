"""How a plain model becomes one rank's part of a parallel one; read downward, it is the order of the transforms.

    0              refuse a plan that does not fit
    1  pipeline    keep the layers of this rank's stages
    2  tensor      give each weight its slice: drawn by address, or cut from what the module holds
    3  tensor      fill the slots at which values cross into and out of the split part of each layer
    4  data        gradients into buckets, summed while backward runs

The module may stand on the meta device: then no rank ever holds a weight that it does not own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import torch

from plait.collectives.process_groups import Mesh
from plait.errors import IllegalJob
from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer
from plait.models.described import require_described
from plait.models.gpt import Decoder
from plait.models.init import first_values
from plait.parallel.gathered_weights import hollow
from plait.parallel.model import ParallelModel
from plait.parallel.pipeline_stage import DecoderStage, Extent, cut_stage
from plait.parallel.tensor_parallel import split_layers
from plait.parallel.weight_gradients import WeightGradients
from plait.plans.holdings import Held, rank_layers, stages_weights
from plait.plans.keeping import kept
from plait.plans.legality import module_problems
from plait.plans.plan import Plan
from plait.sharding.boxes import Interval
from plait.specs.tables import with_tuples

__all__ = ["parallelize"]


def parallelize(
    module: Decoder, plan: Plan, mesh: Mesh, rules: Sequence[Layer] | None = None, *, device: str | torch.device = "cpu"
) -> ParallelModel:
    """Cut `module` (in place) into this rank's part of `plan`; every rank of `mesh` calls it.

    `rules` describes the module's layers; a Plait decoder brings its own description. Before anything is cut or sent it
    raises IllegalJob, with what `plait check` says, for a plan that is not legal for the module or not of this mesh;
    ValueError where a description and the module disagree about a weight, or one is frozen.
    """
    if wrong := module_problems(module.spec, plan, mesh.shape):
        raise IllegalJob(wrong)
    plan = replace(plan, **with_tuples(vars(plan)))  # whoever made it may have written lists
    layers = describe_gpt(module.spec) if rules is None else tuple(rules)
    place = mesh.coordinate("pipeline")
    stages = dict(zip(plan.stages_at(place), rank_layers(layers, plan, place), strict=True))
    stage = [layer for one in stages.values() for layer in one]
    held = {held.weight.name: held for held in stages_weights(stages.values(), plan, mesh.coordinate("tensor"))}

    cut_stage(module, stage)
    require_described(module, stage)
    weights, values = _place_weights(module, stage, held, plan, mesh.coordinate("data"), torch.device(device))
    extent, waiting = Extent(), WeightGradients()
    if plan.tensor > 1:
        waiting = split_layers(module, plan, mesh.axis("tensor"), extent)
    elif plan.divides_backward:
        waiting.defer(module, head=False)
    splits = mesh.axis("tensor") if plan.sequence_parallel else None
    return ParallelModel(
        stages={
            number: DecoderStage(module, [layer.name for layer in one], extent, splits)
            for number, one in stages.items()
        },
        plan=plan,
        mesh=mesh,
        layers=layers,
        held=held,
        weights=weights,
        waiting=waiting,
        values=values,
    )


def _place_weights(
    module: Decoder,
    stage: Sequence[Layer],
    held: Mapping[str, Held],
    plan: Plan,
    data_rank: int,
    device: torch.device,
) -> tuple[dict[str, torch.nn.Parameter], dict[str, torch.Tensor]]:
    """Replace every weight of the stage by this rank's slice; a weight that stands in two places stays one. Where a
    rank keeps but pieces of the slices (ZeRO 3), these are returned, and the slices are but shapes."""
    placed: dict[str, torch.nn.Parameter] = {}
    values: dict[str, torch.Tensor] = {}
    for weight in (weight for layer in stage for weight in layer.weights):
        name, whole = weight.name, module.get_parameter(weight.path)
        if name not in placed and plan.sharding_level == 3:
            values[name] = _slice(whole, kept(held[name], plan, data_rank), module.seed).to(device)
            placed[name] = hollow(held[name].shape, whole, device)
        elif name not in placed:
            placed[name] = torch.nn.Parameter(_slice(whole, held[name], module.seed).to(device))
        owner, _, leaf = weight.path.rpartition(".")
        setattr(module.get_submodule(owner), leaf, placed[name])
    return placed, values


def _slice(whole: torch.Tensor, held: Held, seed: int) -> torch.Tensor:
    """This rank's slice of a weight: drawn, where the module has only its shape."""
    if not held.elements:
        return torch.empty(held.shape, dtype=whole.dtype)
    boxes = [_box(whole, held, box, seed) for box in product(*held.intervals)]
    split = max(range(whole.dim()), key=lambda dim: len(held.intervals[dim]))  # one dim at most has several intervals
    return torch.cat(boxes, split)


def _box(whole: torch.Tensor, held: Held, box: tuple[Interval, ...], seed: int) -> torch.Tensor:
    if whole.is_meta:
        return first_values(held.weight, seed, whole.dtype, box)
    return whole.detach()[tuple(slice(start, stop) for start, stop in box)]
