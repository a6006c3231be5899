"""What a rank's model is put together from: who holds its weights and its gradients, who compresses, serves, averages.

    plan         weights            gradients
    level 0      WholeWeights       GradientBuffers       also compressed, learned alone (averages), or pushed (served)
    level 1      SpreadWeights      GradientBuffers
    level 2      SpreadWeights      ShardedGradients
    level 3      GatheredWeights    ShardedGradients

Each function looks at a plan once and answers with objects that have forgotten it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch

from plait.collectives.compression import Compressed
from plait.collectives.process_groups import Group, Mesh
from plait.devices.device import device_of
from plait.errors import PlaitError
from plait.layers.layer import Layer
from plait.models.gpt import Decoder
from plait.parallel.compressed_gradients import CompressedGradients
from plait.parallel.data_parallel import GradientBuffers, Gradients, Pieces
from plait.parallel.gathered_weights import GatheredWeights
from plait.parallel.local_sgd import LocalGradients
from plait.parallel.parameter_server import ParameterServer
from plait.parallel.sharded_gradients import ShardedGradients
from plait.parallel.synchronous_server import PulledWeights, PushedGradients
from plait.parallel.weight_gradients import WeightGradients
from plait.parallel.weights import SpreadWeights, Weights, WholeWeights
from plait.plans.holdings import Held, Piece, owned_pieces, rank_layers, tied_places
from plait.plans.keeping import kept_piece
from plait.plans.plan import Plan
from plait.plans.reductions import (
    MET_EACH_ROUND,
    Reduction,
    bucket_compression,
    gradient_buckets,
    reduction_sets,
    reductions,
)
from plait.random.words import stream_key

__all__ = ["Place"]

_DTYPES = {"fp32": torch.float32, "fp64": torch.float64}  # that gradients may be summed in, at least


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where parts are put together: a rank of a plan's mesh, the model's `layers`, what the rank has `held` of each
    weight, its `weights`, each as long as that, and the gradients of them that are `waiting` to be made."""

    plan: Plan
    mesh: Mesh
    layers: Sequence[Layer]
    held: Mapping[str, Held]
    weights: dict[str, torch.nn.Parameter]
    waiting: WeightGradients

    @property
    def reduce_dtype(self) -> torch.dtype:
        """In which gradients are summed."""
        first = next(iter(self.weights.values()))
        return torch.promote_types(first.dtype, _DTYPES[self.plan.gradient_precision])

    @property
    def buckets(self) -> tuple[tuple[Held, ...], ...]:
        """Which gradients travel together over the data axis."""
        return gradient_buckets(tuple(self.held.values()), self.plan, self.reduce_dtype.itemsize)

    @property
    def pieces(self) -> Pieces:
        """Of each weight, what each data rank keeps."""
        plan = self.plan
        return {name: [kept_piece(one, plan, rank) for rank in range(plan.data)] for name, one in self.held.items()}

    def compressed_sums(self) -> list[Compressed]:
        """One for each bucket where gradients are compressed; its random numbers are those of its stage and tensor
        rank."""
        if not self.plan.compresses:
            return []
        place = (self.mesh.coordinate("pipeline"), self.mesh.coordinate("tensor"))
        return [
            Compressed(
                bucket_compression(bucket, self.plan),
                [one.shape for one in bucket],
                self.reduce_dtype,
                self.mesh.axis("data"),
                stream_key(0, "compression", *place, number),
                device_of(next(iter(self.weights.values()))).torch,
            )
            for number, bucket in enumerate(self.buckets)
        ]

    def shared_out(
        self, decoder: Decoder, values: Mapping[str, torch.Tensor], compressed: Sequence[Compressed]
    ) -> tuple[Weights, Gradients]:
        """The weights and the gradients, as the plan's sharding level has them. `values`: what is kept of each weight,
        where only that was drawn."""
        plan, group, dtype, weights = self.plan, self.mesh.axis("data"), self.reduce_dtype, self.weights
        buckets = [[held.weight.name for held in bucket] for bucket in self.buckets]
        level = plan.sharding_level
        if plan.averages:
            return WholeWeights(weights), LocalGradients(weights, buckets, group, dtype)
        if compressed:
            return WholeWeights(weights), CompressedGradients(weights, buckets, group, dtype, compressed)
        if plan.asynchronous:
            group = Group(axis=group.axis, ranks=(self.mesh.rank,), index=0)
        if level == 0 or plan.asynchronous:
            return WholeWeights(weights), GradientBuffers(weights, buckets, group, dtype)
        stages = rank_layers(self.layers, plan, self.mesh.coordinate("pipeline"))
        stage, pieces = [layer for one in stages for layer in one], self.pieces
        if plan.served:
            pushed = PushedGradients(weights, buckets, group, dtype, pieces, workers=plan.workers)
            return PulledWeights(decoder, stage, weights, buckets, pieces, group), pushed
        meet = level >= MET_EACH_ROUND
        spread = SpreadWeights(decoder, stage, weights, buckets, pieces, group, meet=meet) if level < 3 else None
        if spread is not None and level == 1:
            return spread, GradientBuffers(weights, buckets, group, dtype, pieces)
        gradients = ShardedGradients(weights, buckets, group, dtype, pieces, [one[0].turn for one in self.buckets])
        if spread is not None:
            return spread, gradients

        def over(names: Collection[str]) -> None:
            self.waiting.meanwhile()  # those of what backward has been through
            gradients.over(names)

        held = tuple(self.held.values())
        return GatheredWeights(decoder, stages, held, weights, values, pieces, group, over), gradients

    def parameter_server(self, gradients: Mapping[str, torch.Tensor]) -> ParameterServer | None:
        """Where portions of a step are applied as they come, who does it. Raises PlaitError on an accelerator."""
        plan, device = self.plan, device_of(next(iter(self.weights.values()))).torch
        if not plan.asynchronous:
            return None
        if device.type != "cpu":
            raise PlaitError(
                f"staleness = {plan.staleness}: a parameter server that applies portions as they come is there for CPUs"
                f" alone, and this rank's weights are on {device}; staleness = 0 works there"
            )
        shared = (self.weights, gradients, self.pieces, self.mesh)
        return ParameterServer(*shared, workers=plan.workers, staleness=plan.staleness)

    def later_sums(self) -> list[tuple[Reduction, Group]]:
        """The sums that follow those over the data axis, with who takes part."""
        steps = reductions(self.layers, self.plan, self.mesh.rank, self.reduce_dtype.itemsize)
        groups = {axis: self.mesh.subsets(axis, sets) for axis, sets in reduction_sets(self.layers, self.plan).items()}
        return [(step, groups[step.axis][step.members]) for step in steps if step.axis != "data"]

    def answers_for(self, weight: Held) -> Sequence[Piece]:
        """The pieces of it that this rank counts, of all that hold them."""
        place, name = self.mesh.coordinate("pipeline"), weight.weight.name
        counts = tied_places(self.layers, self.plan).get(name, (place,))[0] == place
        return owned_pieces(weight, self.plan, self.mesh.coordinate("tensor")) if counts else ()
