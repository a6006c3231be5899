"""Defects that only these tests plant: models that can't be judged, ranks that die, and one that breaks an elimination.

They stand outside of the package, as any test's own do.
"""

from __future__ import annotations

import torch

from plait.defects import Defect


class UnkeyedNoise(Defect):
    """Not a mistake of the plan: a model that draws from the process's own generator."""

    name, issue = "unkeyed-noise", "own"
    wraps = "plait.models.block:Block.forward"

    def instead(self, forward, *args):
        return forward(*args) + 1e-3 * torch.randn(())


class NotANumber(Defect):
    """What the last layer of the parallel run gives is NaN; the reference is as it should be."""

    name, issue = "not-a-number", "own"
    wraps = "plait.models.gpt:Decoder._finish"

    def instead(self, finish, *args):
        return finish(*args) * (1.0 if self.here.model is None else float("nan"))


class DyingRank(Defect):
    """A rank raises in the middle."""

    name, issue = "dying-rank", "own"
    wraps = "plait.training.optimizer:Optimizer.step"

    def instead(self, step, *args):
        raise ArithmeticError("planted")


class BreaksAlone(Defect):
    """Gradients are divided wrongly on two replicas, and on one the run breaks."""

    name, issue, axes = "breaks-alone", "own", ("data",)
    wraps = "plait.parallel.model:ParallelModel.forward_backward"

    def instead(self, forward_backward, model, rows, targets, *rest):
        if model.plan.data == 1:
            raise ArithmeticError("broken without the axis")
        return forward_backward(model, rows, targets // 2, *rest)


class StageScaled(Defect):
    """The first stage of a pipeline scales the gradient that reaches it by `FACTOR`."""

    name, issue, axes = "stage-scaled", "deepspeedai/DeepSpeed#8152", ("pipeline",)
    wraps = "plait.parallel.pipeline_executor:_Performance._backward"
    factor = 2.0

    def instead(self, backward, performance, action):
        for key, arrived in performance._arrived.items():
            if key[0].name == "B" and performance._group.index == 0:
                arrived.mul_(self.factor)
        backward(performance, action)


class StageScaledByABillionth(StageScaled):
    """By a billionth too much."""

    name, factor = "stage-scaled-by-a-billionth", 1 + 1e-9


class StageScaledWithinRounding(StageScaled):
    """By less than the parity harness's bound."""

    name, factor = "stage-scaled-within-rounding", 1 + 1e-11


class FirstUpdateTooLong(Defect):
    """The optimizer's first step is three times too long, on every rank alike."""

    name, issue = "first-update-too-long", "own"
    wraps = "plait.training.optimizer:Optimizer.step"

    def instead(self, step, optimizer, learning_rate):
        step(optimizer, learning_rate * (1.0 if any(optimizer.state.values()) else 3.0))


class LateClip(Defect):
    """Clips at twice the limit, on more than one replica."""

    name, issue, axes = "late-clip", "own", ("data",)
    wraps = "plait.parallel.model:ParallelModel.clip_gradients"

    def instead(self, clip_gradients, model, limit):
        return clip_gradients(model, limit * 2 if self.strikes() and model.plan.data > 1 else limit)
