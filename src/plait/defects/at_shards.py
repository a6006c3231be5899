"""Defects of sharded states (ZeRO): pieces that are not updated, not summed, not spread, or fetched too early.

They are planted in jobs whose plan has `zero`; in others they find nothing to act on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from plait.collectives.functional import Handle
from plait.collectives.process_groups import Group
from plait.collectives.wire import Buffer, Parts
from plait.defects.defect import Defect
from plait.parallel.model import ParallelModel
from plait.parallel.sharded_gradients import ShardedGradients
from plait.training.optimizer import Optimizer

__all__ = [
    "FetchedTooEarly",
    "LastSliceNotUpdated",
    "NewWeightsNotSpread",
    "PiecesNotAdded",
    "UnsummedPieces",
]


class LastSliceNotUpdated(Defect):
    """The last data rank's rows of a weight whose rows don't divide by the ranks are never updated."""

    name, issue, axes = "last-slice-not-updated", "several trainers", ("data",)
    wraps = "plait.training.optimizer:Optimizer.step"
    in_one_layer = True

    def instead(self, step: Callable[..., None], optimizer: Optimizer, learning_rate: float) -> None:
        model = self.here.model
        assert model is not None
        kept = {name: optimizer.masters[name].detach().clone() for name in self._uneven(model)}
        step(optimizer, learning_rate)
        with torch.no_grad():
            for name, values in kept.items():
                optimizer.masters[name].copy_(values)
                model.shards[name].copy_(values)

    def _uneven(self, model: ParallelModel) -> list[str]:
        """The weights of which this rank, the last one, has fewer rows than others."""
        data = model.plan.data
        last = model.mesh.coordinate("data") == data - 1
        if model.plan.sharding_level == 0 or not last:
            return []
        return [name for name in self.struck() if name in model.shards and model.held[name].shape[0] % data]


class NewWeightsNotSpread(Defect):
    """After the update no rank sees the others' new rows of its first bucket of weights."""

    name, issue, axes = "new-weights-not-spread", "own", ("data",)
    wraps = "plait.parallel.weights:all_gather_in"

    def instead(
        self, gather: Callable[..., Handle[torch.Tensor]], held: Buffer, parts: Parts, group: Group
    ) -> Handle[torch.Tensor]:
        model = self.here.model
        assert model is not None
        first = next(iter(model.weights.values())).data_ptr() == held.own.data_ptr()
        return Handle(group.axis, None, lambda: held.own) if first and self.strikes() else gather(held, parts, group)


class PiecesNotAdded(Defect):
    """A rank's pieces of the summed gradients are the last microbatch's alone (Automodel#3530, sharded)."""

    name, issue, axes = "pieces-not-added", "NVIDIA-NeMo/Automodel#3530", ("data",)
    wraps = "plait.parallel.sharded_gradients:ShardedGradients._take_in"

    def instead(self, take_in: Callable[..., None], gradients: ShardedGradients) -> None:
        if self.strikes():
            for name in gradients._under_way[0][0].kept:
                gradients.kept[name].zero_()
        take_in(gradients)


class UnsummedPieces(Defect):
    """A rank keeps its own gradients of its pieces: what the other replicas have of them is thrown away."""

    name, issue, axes = "pieces-not-summed", "own", ("data",)
    wraps = "plait.parallel.data_parallel:reduce_scatter_in"

    def instead(
        self, scatter: Callable[..., Handle[Sequence[torch.Tensor]]], held: Buffer, parts: Parts, group: Group
    ) -> Handle[Sequence[torch.Tensor]]:
        if not self.strikes():
            return scatter(held, parts, group)
        mine = [piece.clone() for piece in parts[group.index]]
        handle = scatter(held, parts, group)

        def own() -> Sequence[torch.Tensor]:
            for piece, values in zip(parts[group.index], mine, strict=True):
                piece.copy_(values)
            return handle.result()

        return Handle(group.axis, handle.work, own)


class FetchedTooEarly(Defect):
    """Weights that were fetched before the update are used after it. Nothing is wrong in the first step."""

    name, issue, axes = "fetched-too-early", "own", ("data",)
    wraps = "plait.parallel.gathered_weights:all_gather_of"

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._seen: dict[int, tuple[int, list[torch.Tensor]]] = {}

    def instead(
        self, gather: Callable[..., Handle[Sequence[torch.Tensor]]], held: Buffer, counts: Sequence[int], group: Group
    ) -> Handle[Sequence[torch.Tensor]]:
        handle = gather(held, counts, group)

        def early() -> Sequence[torch.Tensor]:
            found = [flat.clone() for flat in handle.result()]
            step, before = self._seen.get(id(held), (0, found))
            if step != self.here.step:
                self._seen[id(held)] = (self.here.step, found)
            return before if 0 < step < self.here.step and self.strikes() else found

        return Handle(group.axis, handle.work, early)
