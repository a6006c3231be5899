"""Defects of the update and of what keys it: optimizer state, masters, decay, the step that dropout is drawn for.

Several change no value at all in the first step, so that a check of one step can't see them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from plait.defects.defect import Defect
from plait.models.sequences import Sequences
from plait.parallel.model import ParallelModel
from plait.training.masters import InHostMemory, OnDevice
from plait.training.optimizer import Optimizer

__all__ = [
    "DropoutStepStuck",
    "EvaluationMovesWeights",
    "FusedCopies",
    "LateLearningRate",
    "MastersNotCopied",
    "MomentumLost",
    "NormsDecay",
    "OffloadedWeightLeftBehind",
]


class _OnlyInParallel(Defect):
    """Acts where there is more than one rank along its axis."""

    def acts(self) -> bool:
        """Whether there is, and it is the step."""
        assert self.here.model is not None
        assert self.axis is not None
        return self.here.model.mesh.shape.size(self.axis) > 1 and self.strikes()


class MomentumLost(_OnlyInParallel):
    """From the second step on, a layer's first moments begin from zero each time. Nothing is wrong in the first."""

    name, issue, axes = "momentum-lost", "own", ("data", "tensor", "pipeline")
    wraps = "plait.training.optimizer:Optimizer.step"
    in_one_layer = True

    def instead(self, step: Callable[..., None], optimizer: Optimizer, learning_rate: float) -> None:
        if self.acts() and self.here.step > 1:
            for name in self.struck():
                for key, tensor in optimizer.state[name].items():
                    if key in ("exp_avg", "momentum_buffer"):
                        tensor.zero_()
        step(optimizer, learning_rate)


class DropoutStepStuck(_OnlyInParallel):
    """Dropout is keyed by the first step for ever: the masks never change. Nothing is wrong in the first step."""

    name, issue, axes = "dropout-step-stuck", "own", ("data", "tensor", "pipeline")
    wraps = "plait.parallel.model:ParallelModel.forward_backward"

    def instead(
        self, forward_backward: Callable[..., float | None], model: ParallelModel, rows: Sequences, *rest: object
    ) -> float | None:
        return forward_backward(model, replace(rows, step=0) if self.acts() else rows, *rest)


class LateLearningRate(_OnlyInParallel):
    """The last rank along an axis warms up a step behind the others. Nothing is wrong in the first step."""

    name, issue, axes = "late-learning-rate", "own", ("pipeline", "data", "tensor")
    wraps = "plait.training.optimizer:Optimizer.step"

    def instead(self, step: Callable[..., None], optimizer: Optimizer, learning_rate: float) -> None:
        assert self.here.model is not None
        assert self.axis is not None
        size = self.here.model.mesh.shape.size(self.axis)
        late = self.acts() and self.here.step > 1 and self.here.model.mesh.coordinate(self.axis) == size - 1
        step(optimizer, learning_rate * (self.here.step - 1) / self.here.step if late else learning_rate)


class NormsDecay(Defect):
    """Weight decay is applied to norms and biases too: with any degrees, so that no axis is to blame."""

    name, issue = "norms-decay", "several trainers"
    wraps = "plait.training.optimizer:Optimizer.__init__"
    in_one_step = False

    def instead(
        self, begin: Callable[..., None], optimizer: Optimizer, weights: Mapping[str, Any], *rest: Any, **named: Any
    ) -> None:
        gradients, _, *others = rest
        begin(optimizer, weights, gradients, dict.fromkeys(weights, True), *others, **named)


class MastersNotCopied(Defect):
    """Mixed precision: the masters learn and the weights stay what they were."""

    name, issue = "masters-not-copied", "several trainers"
    wraps = "plait.training.masters:OnDevice.give_back"

    def instead(self, give_back: Callable[..., None], masters: OnDevice, batch: int) -> None:
        if not self.strikes():
            give_back(masters, batch)


class OffloadedWeightLeftBehind(Defect):
    """Offload: of what was updated in host memory, the last weight is not copied back to the device."""

    name, issue = "offloaded-weight-left-behind", "own"
    wraps = "plait.training.masters:InHostMemory.give_back"

    def instead(self, give_back: Callable[..., None], masters: InHostMemory, batch: int) -> None:
        weight = masters._weights[masters.batches[batch][-1]]
        before = weight.detach().clone()
        give_back(masters, batch)
        if self.strikes() and batch == len(masters.batches) - 1:
            masters.end()
            with torch.no_grad():
                weight.copy_(before)


class FusedCopies(Defect):
    """Copies that stand at different places of their slices are updated by a kernel that rounds the ends otherwise:
    they part by a last bit."""

    name, issue, axes = "displaced-copies-fused", "own", ("tensor",)
    wraps = "plait.parallel.model:ParallelModel.displaced"
    in_one_layer = True

    def instead(self, displaced: Callable[..., frozenset[str]], model: ParallelModel) -> frozenset[str]:
        struck = [layer for layer in model.layers if self.layer in (None, layer.name)]
        return displaced(model) - {weight.name for layer in struck for weight in layer.weights}


class EvaluationMovesWeights(Defect):
    """An evaluation leaves the weights half as large again."""

    name, issue = "evaluation-moves-weights", "own"
    wraps = "plait.parallel.model:ParallelModel.evaluate"

    def instead(self, evaluate: Callable[..., float | None], model: ParallelModel, rows: Sequences) -> float | None:
        loss = evaluate(model, rows)
        with torch.no_grad():
            for weight in model.weights.values() if self.strikes() else ():
                weight.mul_(1.5)
        return loss
