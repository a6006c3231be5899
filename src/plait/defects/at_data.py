"""Defects of data parallelism: buckets, the count that the loss is divided by, and what replicas have to share.

Most of them leave the loss of the first step as it is; each says what a log of losses shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from plait.collectives.functional import Handle, all_reduce
from plait.collectives.process_groups import Group
from plait.defects.defect import Defect
from plait.models.loss import IGNORED
from plait.models.sequences import Sequences
from plait.parallel.data_parallel import GradientBuffers
from plait.parallel.model import ParallelModel
from plait.parallel.sharded_gradients import ShardedGradients

__all__ = [
    "BucketNotReduced",
    "ClippedBeforeSum",
    "GradientsSwapped",
    "HalfWire",
    "LocalTokenCount",
    "MeanOfMeans",
    "NarrowWire",
    "RaggedBatchDropped",
    "ReplicaDrifts",
    "SameDropoutEverywhere",
    "SumTakenTwice",
    "WidenedOverwrites",
]

_LIMIT = 0.01


class BucketNotReduced(Defect):
    """The bucket that holds a layer's gradients is never summed over the replicas; without a layer, the first one."""

    name, issue, axes = "bucket-not-reduced", "own", ("data",)
    wraps = "plait.parallel.data_parallel:GradientBuffers._launch"
    in_one_layer = True

    def instead(self, launch: Callable[..., None], buffers: GradientBuffers, up_to: int) -> None:
        skipped = self._bucket(buffers) if self.strikes() else None
        for number in range(len(buffers._launched), up_to):
            if number == skipped:
                buffers._launched.append(Handle("data", None, lambda flat=buffers.flat[number]: flat))
            launch(buffers, number + 1)

    def _bucket(self, buffers: GradientBuffers) -> int | None:
        """None on a stage that has nothing of the layer."""
        names = self.struck()
        places = [number for number, bucket in enumerate(buffers._buckets) if set(bucket) & set(names)]
        return min(places, default=None)


class LocalTokenCount(Defect):
    """Gradients are divided by this replica's targets instead of all of them; the loss is reported right."""

    name, issue, axes = "divided-by-local-tokens", "NVIDIA/Megatron-LM#673", ("data",)
    wraps = "plait.parallel.pipeline_executor:PipelineExecutor.run"

    def instead(
        self, run: Callable[..., Any], executor: Any, schedule: Any, rows: Sequence[Sequences], loss_scale: float
    ) -> Any:
        learning = torch.is_grad_enabled() and self.strikes()
        return run(executor, schedule, rows, 1.0 / self.divisor(rows) if learning else loss_scale)

    def divisor(self, microbatches: Sequence[Sequences]) -> int:
        """By what the gradients are divided."""
        return sum(int((rows.targets != IGNORED).sum()) for rows in microbatches if rows.targets is not None)


class MeanOfMeans(LocalTokenCount):
    """Each replica takes the mean over its own targets, and the means are averaged; the loss is reported right."""

    name, issue = "mean-of-means", "several trainers"

    def divisor(self, microbatches: Sequence[Sequences]) -> int:
        """As many for every replica as this one has."""
        assert self.here.model is not None
        return super().divisor(microbatches) * self.here.model.plan.data


class RaggedBatchDropped(Defect):
    """The last microbatch is smaller than the others, and the last replica drops it; its targets are counted still."""

    name, issue, axes = "ragged-batch-dropped", "PrimeIntellect-ai/prime-rl#2636", ("data",)
    wraps = "plait.parallel.model:ParallelModel._microbatches"

    def instead(self, cut: Callable[..., list[Sequences]], model: ParallelModel, rows: Sequences) -> list[Sequences]:
        found = cut(model, rows)
        plan = model.plan
        ragged = bool(found) and len(found[-1].samples) < plan.microbatch
        last = model.mesh.coordinate("data") == plan.data - 1 > 0
        return found[:-1] if ragged and last and torch.is_grad_enabled() and self.strikes() else found


class ClippedBeforeSum(Defect):
    """Each replica clips its own gradients, bucket by bucket, before they are summed."""

    name, issue, axes = "clip-before-reduction", "several trainers", ("data",)
    wraps = (
        "plait.parallel.data_parallel:GradientBuffers._launch",
        "plait.parallel.sharded_gradients:ShardedGradients._launch",
    )

    def instead(
        self, launch: Callable[..., None], gradients: GradientBuffers | ShardedGradients, up_to: int | None = None
    ) -> None:
        if isinstance(gradients, ShardedGradients):  # one bucket, of one microbatch
            names = gradients._buckets[gradients._due[0]].names
            self._clip([gradients._made[name] for name in names if name in gradients._made], gradients._group)
            launch(gradients)
            return
        assert up_to is not None
        for number in range(len(gradients._launched), up_to):
            self._clip([gradients.flat[number]], gradients._group)
            launch(gradients, number + 1)

    def _clip(self, bucket: Sequence[torch.Tensor], group: Group) -> None:
        """In place, to a limit that is below the norm of any bucket of a model that has just begun."""
        if self.strikes() and group.size > 1:
            norm = float(torch.stack([part.norm() for part in bucket]).norm()) if bucket else 0.0
            for part in bucket:
                part.mul_(min(1.0, _LIMIT / max(norm, _LIMIT)))


class SameDropoutEverywhere(Defect):
    """Dropout is keyed by a sample's place among the replica's own rows: replicas drop alike what is not alike."""

    name, issue, axes = "dropout-same-on-replicas", "several trainers", ("data",)
    wraps = "plait.parallel.model:ParallelModel.forward_backward"

    def instead(
        self, forward_backward: Callable[..., float | None], model: ParallelModel, rows: Sequences, *rest: object
    ) -> float | None:
        first = model.mesh.coordinate("data") * len(rows.samples) if self.strikes() else 0
        return forward_backward(model, replace(rows, samples=rows.samples - first), *rest)


class GradientsSwapped(Defect):
    """Two gradients of one shape come out of the buckets in each other's places: same loss, same norm."""

    name, issue, axes = "gradients-swapped", "own", ("data",)
    wraps = "plait.parallel.data_parallel:GradientBuffers.finish"
    in_one_layer = True

    def instead(self, finish: Callable[..., None], buffers: GradientBuffers) -> None:
        finish(buffers)
        pair = self._pair(buffers.views) if buffers._group.size > 1 else None
        if pair is not None:
            one, other = pair
            kept = one.clone()
            one.copy_(other)
            other.copy_(kept)

    def _pair(self, views: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor] | None:
        for name in self.struck():
            alike = [other for other, view in views.items() if other != name and view.shape == views[name].shape]
            if alike:
                return views[name], views[alike[-1]]
        return None


class NarrowWire(Defect):
    """Buckets travel in the next narrower dtype: float64 as float32, float32 as bfloat16. It looks like rounding."""

    name, issue, axes = "narrow-wire", "own", ("data",)
    wraps = "plait.parallel.data_parallel:all_reduce"

    def instead(self, reduce: Callable[..., Handle], tensor: torch.Tensor, group: Group) -> Handle:
        if self.strikes() and group.size > 1:
            narrow = torch.float32 if tensor.dtype == torch.float64 else torch.bfloat16
            tensor.copy_(tensor.to(narrow))
        return reduce(tensor, group)


class HalfWire(Defect):
    """Buckets of float32 travel as bfloat16, and float64 travels as it is: only float32 can show it."""

    name, issue, axes = "bfloat16-wire", "own", ("data",)
    wraps = "plait.parallel.data_parallel:all_reduce"

    def instead(self, reduce: Callable[..., Handle], tensor: torch.Tensor, group: Group) -> Handle:
        if self.strikes() and group.size > 1 and tensor.dtype == torch.float32:
            tensor.copy_(tensor.bfloat16())
        return reduce(tensor, group)


class SumTakenTwice(Defect):
    """Buckets are summed, divided by the replicas, and summed again: with 2 or 4 of them no bit changes anywhere."""

    name, issue, axes = "sum-taken-twice", "own", ("data",)
    wraps = "plait.parallel.data_parallel:all_reduce"

    def instead(self, reduce: Callable[..., Handle], tensor: torch.Tensor, group: Group) -> Handle:
        if self.strikes() and group.size > 1:
            all_reduce(tensor, group).wait()
            tensor.div_(group.size)
        return reduce(tensor, group)


class WidenedOverwrites(Defect):
    """A gradient that is widened for the sum takes the place of those before it: all but the last microbatch's are
    lost, in bfloat16 alone (NVIDIA-NeMo/Automodel#3530 once more)."""

    name, issue = "widened-overwrites", "own"
    wraps = "plait.parallel.data_parallel:GradientBuffers.collect"

    def instead(
        self, collect: Callable[..., None], buffers: GradientBuffers, name: str, weight: torch.nn.Parameter
    ) -> None:
        if self.strikes() and weight.grad is not None and weight.grad.dtype != buffers.views[name].dtype:
            buffers.views[name].zero_()
        collect(buffers, name, weight)


class ReplicaDrifts(Defect):
    """The last rank along an axis takes an update that is longer by a billionth."""

    name, issue, axes = "replica-drifts", "own", ("data", "tensor")
    wraps = "plait.training.optimizer:Optimizer.step"

    def instead(self, step: Callable[..., None], optimizer: Any, learning_rate: float) -> None:
        model = self.here.model
        assert model is not None
        assert self.axis is not None
        last = model.mesh.coordinate(self.axis) == model.mesh.shape.size(self.axis) - 1
        alone = model.mesh.shape.size(self.axis) == 1
        step(optimizer, learning_rate * (1.0 + 1e-9 * (last and not alone and self.strikes())))
