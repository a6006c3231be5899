"""The prices of one job on one measured machine: what each layer, message, sum and update of a plan takes.

    layers ──operations──> compute_cost ──────────────────────────┐
    crossings, transfers ──> communication_cost (`machine`) ──────┼──> StepCost
    sums, averages, new weights ──> `sum_prices` ─────────────────┘

A rank is as slow as the slowest of its tensor group; where ranks share cores, all wait for them; where ranks differ in
speed, all wait for the replica that `rounds` finds. It knows the parts of a step, not the order in which a schedule
puts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer
from plait.planner.balance import balanced_stages
from plait.planner.communication_volume import Message, crossing_messages, stage_message_bytes
from plait.planner.machine import Machine
from plait.planner.memory import optimizer_bytes
from plait.planner.operations import Move, is_weight_gradient, operations_of
from plait.planner.rounds import rounds_waited_for
from plait.planner.serving_volume import busiest
from plait.planner.stage import Stage, stage_of
from plait.planner.step_cost import Phase, Round, StageCost, StepCost
from plait.planner.sum_prices import COLLECTIVES, SumPrices
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.measurements import Measurements
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["HOST_RATE", "JobPrices"]

_NO_LIMIT = 2**60  # of a bucket's bytes
HOST_RATE = 10e9  # bytes a second that a rank's update reads and writes in the memory of a device's host: assumed
_OFFLOADED = 3  # copies of all elements: a gradient to host memory, the new weight's cast, and back


@dataclass(frozen=True, kw_only=True)
class _LayerCost:
    forward: Phase
    backward: Phase
    weights: float


class JobPrices:
    """The prices of one job on one measured machine, or on as many like it as `cluster` has nodes; remembers each
    layer's. Raises UnusableInput where the machine was not measured in the job's dtype."""

    def __init__(
        self,
        model: ModelSpec,
        training: TrainingSpec,
        measurements: Measurements,
        cluster: ClusterSpec | None = None,
    ) -> None:
        policy = PRECISIONS[training.precision]
        self.model, self.training = model, training
        self.machine = Machine(measurements, policy.compute, cluster)
        self.sums = SumPrices(self.machine, training)
        self._layers = describe_gpt(model)
        self._master = ITEMSIZE[policy.master]
        self._copies = policy.master != policy.compute
        self._known: dict[tuple[object, ...], _LayerCost] = {}

    def balanced(self, plan: Plan) -> tuple[int, ...]:
        """The stages of this plan that make the slowest one fastest, embedding and head counted."""
        layers = [self._layer_cost(layer, plan) for layer in self._layers]
        embedding, *blocks, head = (cost.forward.total + cost.backward.total for cost in layers)
        return balanced_stages(blocks, len(plan.stage_rank), embedding=embedding, head=head)

    def step(self, plan: Plan) -> StepCost:
        """The parts of one step under a plan."""
        widest = plan.tensor_shares.index(max(plan.tensor_shares))  # the tensor rank that holds and sums most
        places = range(plan.pipeline)
        ranks = [plan.mesh.rank_at(pipeline=place, data=busiest(plan), tensor=widest) for place in places]
        stages = [stage_of(self.model, self.training, plan, rank) for rank in ranks]
        size = stage_message_bytes(self.model, self.training, plan, tensor_rank=0)
        pairs = self.machine.neighbours(plan)
        rounds = self._rounds(plan)
        return StepCost(
            stages=self._in_order(plan, [list(self._stages(plan, n, stage, rounds)) for n, stage in enumerate(stages)]),
            stage_rank=plan.stage_rank,
            send=self.machine.message("send", pairs, size, plan.pipeline) if plan.pipeline > 1 else 0.0,
            exchange=self.machine.message("exchange", pairs, size, plan.pipeline) if plan.pipeline > 1 else 0.0,
            tensor_sums=self.sums.later(plan, stages, "tensor"),
            pipeline_sums=self.sums.later(plan, stages, "pipeline"),
            optimizer=max(self._optimizer(plan, rank) for rank in range(plan.ranks) if _keeps_most(plan, rank)),
            renewal=self.sums.norm(plan, "data")
            + max(self.sums.gathers(plan, place, stage, "update") for place, stage in enumerate(stages))
            + max(self.sums.served(plan, place, stage) for place, stage in enumerate(stages)),
            rounds=rounds,
        )

    def bucket_bytes(self, plan: Plan) -> int:
        """How large this plan's buckets should be, for the stage with most gradients."""
        if plan.data == 1:
            return plan.bucket_bytes
        whole = replace(plan, bucket_bytes=_NO_LIMIT)
        ranks = [plan.mesh.rank_at(pipeline=place, data=0, tensor=0) for place in range(plan.pipeline)]
        stage = max((stage_of(self.model, self.training, whole, rank) for rank in ranks), key=lambda one: one.elements)
        first, *_ = self._rounds(plan)
        backward = _sum([self._layer_cost(layer, plan).backward for layer in stage.layers])
        return self.sums.bucket_bytes(plan, stage, replace(first, part=1.0).seconds(backward))

    def _layer_cost(self, layer: Layer, plan: Plan) -> _LayerCost:
        # blocks of one model are alike: a layer's kind stands for it
        key = (layer.kind, plan.microbatch, plan.tensor_shares, plan.sequence_parallel, self.machine.at_work(plan))
        if key not in self._known:
            self._known[key] = self._priced(layer, plan)
        return self._known[key]

    def _priced(self, layer: Layer, plan: Plan) -> _LayerCost:
        sequence = self.training.sequence_length
        found = [operations_of(layer, self.model, sequence, plan, rank) for rank in range(plan.tensor)]
        at_work = self.machine.at_work(plan)
        compute = self.machine.compute
        forward = max(compute.work(one.forward).crowded(compute, at_work) for one in found)
        backward = max(compute.work(one.backward).crowded(compute, at_work) for one in found)
        messages = crossing_messages(layer, self.model, self.training, plan)
        apart = [[one for one in each.backward if is_weight_gradient(one)] for each in found if layer.kind != "head"]
        weights = max((compute.work(one).crowded(compute, at_work) for one in apart), default=0.0)
        return _LayerCost(
            forward=Phase(compute=forward, tensor=self._collectives(plan, (m for m in messages if m.forward))),
            backward=Phase(compute=backward, tensor=self._collectives(plan, (m for m in messages if not m.forward))),
            weights=weights,
        )

    def _collectives(self, plan: Plan, messages: Iterable[Message]) -> float:
        """Alone: the simulation slows all of a stage's work down where ranks share cores."""
        group = self.machine.spread(plan, "tensor")
        at_once = plan.data * plan.tensor
        return sum(self.machine.uncrowded(COLLECTIVES[m.kind], group, m.bytes, at_once) for m in messages)

    def _in_order(self, plan: Plan, by_place: Sequence[Sequence[StageCost]]) -> tuple[StageCost, ...]:
        """What each place has of its stages, in the order of the stages."""
        coming = [iter(costs) for costs in by_place]
        return tuple(next(coming[place]) for place in plan.stage_rank)

    def _stages(self, plan: Plan, place: int, stage: Stage, rounds: Sequence[Round]) -> Iterator[StageCost]:
        """Of each stage at a place; the first goes backward last, and bears what follows."""
        whole = replace(rounds[0], part=1.0)
        parts = [[self._layer_cost(layer, plan) for layer in part] for part in stage.parts]
        phases = [(_sum([one.forward for one in part]), _sum([one.backward for one in part])) for part in parts]
        last = [cost.weights if plan.divides_backward else whole.seconds(cost.backward) for cost in parts[0]]
        data, slowed = self.sums.after_backward(plan, stage, last)
        if plan.averages:
            work = sum(one.seconds(phase) for one in rounds for both in phases for phase in both)
            data, slowed = self.sums.averages(plan, stage, work), 0.0
        data += self.sums.report(plan, place)
        forward, backward = (_sum([both[way] for both in phases]) for way in (0, 1))
        on_the_way = self.sums.meanwhile(plan, place, stage, "forward", whole.seconds(forward)) / len(parts)
        on_the_way_back = self.sums.meanwhile(plan, place, stage, "backward", whole.seconds(backward)) / len(parts)
        for turn, (part, (there, back)) in enumerate(zip(parts, phases, strict=True)):
            yield StageCost(
                forward=replace(there, data=on_the_way),
                backward=replace(back, data=on_the_way_back),
                data=0.0 if turn else data,
                slowed=0.0 if turn else slowed,
                weights=sum(cost.weights for cost in part),
            )

    def _rounds(self, plan: Plan) -> tuple[Round, ...]:
        def part(rows: int) -> float:  # of all layers' time
            if rows == plan.microbatch:
                return 1.0
            return self._layers_seconds(replace(plan, microbatch=rows)) / self._layers_seconds(plan)

        speeds = self.machine.speeds.of_replicas(plan.mesh)
        return rounds_waited_for(plan, self.training.global_batch, speeds, part)

    def _layers_seconds(self, plan: Plan) -> float:
        costs = (self._layer_cost(layer, plan) for layer in self._layers)
        return sum(cost.forward.total + cost.backward.total for cost in costs)

    def _optimizer(self, plan: Plan, rank: int) -> float:
        stage = stage_of(self.model, self.training, plan, rank)
        elements = stage.kept_elements
        seconds = self._update(plan, stage)
        if self.training.clip_norm > 0:
            seconds += self.machine.compute.move_seconds(Move("square_sum", elements, elements, "forward"))
        _, memory = self.machine.compute.crowding(self.machine.at_work(plan))
        updates = plan.workers if plan.asynchronous else 1  # in as long as a step of one worker takes
        speeds = self.machine.speeds.of_replicas(plan.mesh)
        slowest = min(speeds[replica] for replica in plan.keepers)
        return updates * seconds * memory * self.machine.crowd(plan.ranks) / slowest

    def _update(self, plan: Plan, stage: Stage) -> float:
        """Seconds from gradients to new weights. Under offload a device's copies hide behind the host's work."""
        if plan.offloads and not self.machine.shares_memory:
            return 2 * optimizer_bytes(stage.kept, self.training, plan) / HOST_RATE
        sizes = [one.elements for one in stage.kept]
        copies = _OFFLOADED if plan.offloads else self._copies
        compute = self.machine.compute
        copying = copies and copies * sum(compute.move_seconds(Move("copy", n, n, "forward")) for n in sizes)
        return compute.optimizer_seconds(self.training.optimizer, len(sizes), sum(sizes), self._master) + copying


def _keeps_most(plan: Plan, rank: int) -> bool:
    return plan.mesh.coordinate(rank, "data") == plan.keepers.start


def _sum(phases: Sequence[Phase]) -> Phase:
    return Phase(compute=sum(one.compute for one in phases), tensor=sum(one.tensor for one in phases))
