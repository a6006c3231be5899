"""What one layer costs a microbatch, forward and backward, on the ranks of a measured machine.

    layer ──operations──> compute_cost, as slow as the tensor rank that is done last
          ──crossings───> communication_cost

The blocks of one model are alike, so that a layer's kind stands for it. It knows layers and how the tensor axis cuts
them, no stage and no schedule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import add

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer
from plait.planner.alike import tensor_ranks_alike
from plait.planner.communication_volume import Message, crossing_messages
from plait.planner.machine import Machine
from plait.planner.operations import Views, Way, is_weight_gradient, operations_of
from plait.planner.stage import kinds_of
from plait.planner.step_cost import Phase
from plait.planner.sum_prices import COLLECTIVES
from plait.plans.plan import Plan
from plait.plans.reductions import MET_EACH_ROUND
from plait.specs.model import ModelSpec
from plait.specs.training import TrainingSpec

__all__ = ["LayerCost", "LayerPrices"]

_CROSSING_VIEWS = 16  # around one message of the tensor axis; set by hand, from what steps of two ranks took longer


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """`each`: what every tensor rank computes, forward and backward. Of the seconds that backward computes, `weights`:
    those for gradients of weights that can be made apart, `collecting`: those in which gradients are added up."""

    forward: Phase
    backward: Phase
    each: tuple[float, ...]
    weights: float
    collecting: float

    @cached_property
    def seconds(self) -> float:
        """Forward and backward."""
        return self.forward.total + self.backward.total


class LayerPrices:
    """Of one job on one machine; remembers them by all of a plan that they depend on."""

    def __init__(self, machine: Machine, model: ModelSpec, training: TrainingSpec) -> None:
        self.machine, self.model, self.training = machine, model, training
        self._layers = describe_gpt(model)
        self._known: dict[tuple[object, ...], Mapping[str, LayerCost]] = {}

    def seconds(self, plan: Plan) -> list[float]:
        """Forward and backward of every layer of the model."""
        return [cost.seconds for cost in self.of(plan, self._layers)]

    def of(self, plan: Plan, layers: Sequence[Layer]) -> list[LayerCost]:
        """Of each of these."""
        kinds = self.by_kind(plan)
        return [kinds[layer.kind] for layer in layers]

    def by_kind(self, plan: Plan) -> Mapping[str, LayerCost]:
        """Of one layer of each kind."""
        group = self.machine.spread(plan, "tensor")
        at_once = plan.data * group.crosses  # who shares a link between hosts
        pieces = plan.data if plan.sharding_level >= MET_EACH_ROUND else 0
        collected = (plan.data > 1, pieces)  # how gradients are
        at_work = self.machine.at_work(plan)
        at = (plan.microbatch, plan.tensor_shares, plan.sequence_parallel, collected, at_work, group, at_once)
        if at not in self._known:
            self._known[at] = {layer.kind: self._priced(layer, plan) for layer, _ in kinds_of(self._layers)}
        return self._known[at]

    def _priced(self, layer: Layer, plan: Plan) -> LayerCost:
        sequence = self.training.sequence_length
        like = tensor_ranks_alike(self.model, self.training, plan)
        unlike = tuple(dict.fromkeys(like))
        found = [operations_of(layer, self.model, sequence, plan, rank) for rank in unlike]
        messages = crossing_messages(layer, self.model, self.training, plan, plan.microbatch)
        at_work = self.machine.at_work(plan)
        compute = self.machine.compute

        def seconds(way: Way) -> list[float]:
            crossed = sum(message.forward is (way == "forward") for message in messages)
            every = [[*one.of(way), Views(_CROSSING_VIEWS * crossed, "forward")] for one in found]
            return [compute.work(operations).crowded(compute, at_work) for operations in every]

        forward, backward = seconds("forward"), seconds("backward")
        both = dict(zip(unlike, map(add, forward, backward), strict=True))
        apart = [[one for one in each.backward if is_weight_gradient(one)] for each in found if layer.kind != "head"]
        weights = max((compute.work(one).crowded(compute, at_work) for one in apart), default=0.0)
        return LayerCost(
            forward=self._phase(plan, max(forward), [m for m in messages if m.forward]),
            backward=self._phase(plan, max(backward), [m for m in messages if not m.forward]),
            each=tuple(both[rank] for rank in like),
            weights=weights,
            collecting=max(compute.work(one.collecting).crowded(compute, at_work) for one in found),
        )

    def _phase(self, plan: Plan, compute: float, messages: Sequence[Message]) -> Phase:
        """Computing with messages evenly between. They are alone: the simulation slows all of a stage's work down where
        ranks share cores."""
        group = self.machine.spread(plan, "tensor")
        at_once, pause = plan.data * plan.tensor, compute / max(1, len(messages))
        seconds = (self.machine.uncrowded(COLLECTIVES[m.kind], group, m.bytes, at_once, pause) for m in messages)
        return Phase(compute=compute, tensor=sum(seconds))
