"""Defects of pipeline parallelism: gradients wiped, scaled or lost between stages and microbatches.

They act where the executor performs a schedule, or where layers are dealt out to stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from plait.collectives.wire import Transfer
from plait.defects.defect import Defect
from plait.layers.layer import Layer
from plait.parallel.model import ParallelModel
from plait.plans.holdings import rank_layers
from plait.plans.plan import Plan
from plait.schedules.action import Action, Kind

__all__ = ["ArrivingGradientScaled", "LayersDropped", "MicrobatchGradientsWiped", "StageScaledTwice", "StaleActivation"]


class MicrobatchGradientsWiped(Defect):
    """Gradients are wiped between microbatches: only the last one's remain."""

    name, issue, axes = "microbatch-gradients-wiped", "NVIDIA-NeMo/Automodel#3530", ("pipeline",)
    wraps = "plait.parallel.pipeline_executor:_Performance._backward"
    in_one_layer = True

    def instead(self, backward: Callable[..., None], performance: Any, action: Action) -> None:
        model = self.here.model
        assert model is not None
        if model.plan.pipeline > 1:
            for name in self.struck():
                model.gradients[name].zero_()
        backward(performance, action)


class StageScaledTwice(Defect):
    """One stage divides its gradients by the number of microbatches once more; the loss is right, and Adam hides it."""

    name, issue, axes = "stage-divided-twice", "deepspeedai/DeepSpeed#8152", ("pipeline",)
    wraps = "plait.parallel.model:ParallelModel.sum_gradients"
    in_one_layer = True

    def instead(self, sum_gradients: Callable[..., None], model: ParallelModel) -> None:
        sum_gradients(model)
        stages = rank_layers(model.layers, model.plan, model.mesh.coordinate("pipeline"))
        chosen = self.layer or model.layers[0].name
        struck = [stage for stage in stages if any(layer.name == chosen for layer in stage)]
        if model.plan.pipeline > 1 and self.strikes() and struck:
            names = {weight.name for layer in struck[0] for weight in layer.weights}
            microbatches = {timed.action.microbatch for timed in model.timeline}
            for gradient in (one for name, one in model.gradients.items() if name in names):
                gradient.div_(len(microbatches))


class ArrivingGradientScaled(Defect):
    """A stage scales the gradient that reaches it from the next one by a ten-millionth too much."""

    name, issue, axes = "arriving-gradient-scaled", "pytorch/torchtitan#2972", ("pipeline",)
    wraps = "plait.parallel.pipeline_executor:_Performance._backward"

    def instead(self, backward: Callable[..., None], performance: Any, action: Action) -> None:
        arrived = performance._arrived.get((Kind.B, action.stage, action.microbatch))
        if arrived is not None and self.strikes():
            arrived.mul_(1 + 1e-7)
        backward(performance, action)


class LayersDropped(Defect):
    """Layers that don't divide by the stages: the last block of the first stage belongs to nobody."""

    name, issue, axes = "layers-dropped", "pytorch/torchtitan#963", ("pipeline",)
    wraps = "plait.parallel.apply:rank_layers"
    in_one_step = False

    def instead(
        self, deal: Callable[..., Any], layers: Sequence[Layer], plan: Plan, place: int
    ) -> tuple[tuple[Layer, ...], ...]:
        first, *others = deal(layers, plan, place)
        dropped = place == 0 and plan.pipeline > 1
        return (first[:-1] if dropped else first, *others)


class StaleActivation(Defect):
    """The value that is sent for a microbatch is still that of the one before: a buffer was used again too early."""

    name, issue, axes = "stale-activation", "several trainers", ("pipeline",)
    wraps = "plait.parallel.pipeline_executor:_Performance._send"

    def instead(self, send: Callable[..., Transfer], performance: Any, action: Action) -> Transfer:
        transfer = send(performance, action)
        if action.kind is not Kind.SEND_F or not self.strikes():
            return transfer
        sent = performance.__dict__.setdefault("sent", {})  # by stage: each has a buffer of its own
        stale = sent.get(action.stage, transfer.tensor)
        sent[action.stage] = transfer.tensor
        return replace(transfer, tensor=stale)
