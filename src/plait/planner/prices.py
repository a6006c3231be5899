"""The prices of one job on one measured machine: what each layer, message, sum and update of a plan takes.

    layers ──operations──> compute_cost ──────────────────────────┐
    crossings, transfers ──> communication_cost (`machine`) ──────┼──> StepCost
    sums, averages, new weights ──> `sum_prices` ─────────────────┘

A stage is as slow as the tensor rank that is done last; where ranks share cores, all wait for them; where ranks differ
in speed, each stage of a replica has its own, and all wait for the replica that `rounds` finds. It knows the parts of a
step, not the order in which a schedule puts them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import add

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer
from plait.planner.alike import tensor_ranks_alike
from plait.planner.balance import balanced_stages
from plait.planner.communication_volume import Message, crossing_messages, stage_message_bytes
from plait.planner.machine import Machine
from plait.planner.operations import Views, Way, is_weight_gradient, operations_of
from plait.planner.rounds import rounds_waited_for
from plait.planner.serving_volume import busiest
from plait.planner.stage import Stage, stage_of
from plait.planner.step_cost import Phase, Round, StageCost, StepCost
from plait.planner.sum_prices import COLLECTIVES, SumPrices
from plait.planner.update_prices import UpdatePrices
from plait.plans.holdings import rank_layers
from plait.plans.plan import Plan
from plait.plans.reductions import MET_EACH_ROUND
from plait.specs.cluster import ClusterSpec
from plait.specs.measurements import Measurements
from plait.specs.model import ModelSpec
from plait.specs.training import PRECISIONS, TrainingSpec

__all__ = ["JobPrices"]

_CROSSING_VIEWS = 9  # around one message of the tensor axis; set by hand, from what steps of two ranks took longer
_NO_LIMIT = 2**60  # of a bucket's bytes


@dataclass(frozen=True, kw_only=True)
class _LayerCost:
    """`each`: what every tensor rank computes, forward and backward."""

    forward: Phase
    backward: Phase
    each: tuple[float, ...]
    weights: float

    @property
    def seconds(self) -> float:
        return self.forward.total + self.backward.total


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
        self.updates = UpdatePrices(self.machine, model, training)
        self._layers = describe_gpt(model)
        self._known: dict[tuple[object, ...], dict[str, _LayerCost]] = {}
        self._stages: dict[tuple[object, ...], tuple[int, ...]] = {}

    def balanced(self, plan: Plan, slower: tuple[float, ...] = ()) -> tuple[int, ...]:
        """The stages of this plan that make the slowest one fastest, embedding and head counted; `slower`: how many
        times longer each place along the pipeline computes than the rank that was measured."""
        embedding, *blocks, head = (cost.seconds for cost in self._layer_costs(plan))
        placed = plan.stage_rank
        each = tuple(slower[place] for place in placed) if slower else ()
        key = (len(placed), embedding, head, *blocks[:1], each)
        if key not in self._stages:
            self._stages[key] = balanced_stages(blocks, len(placed), embedding=embedding, head=head, slower=each)
        return self._stages[key]

    def settled(self, plan: Plan, fixed: Collection[str]) -> Plan:
        """The plan with stages of equal cost, and buckets for its link, but for keys that are fixed."""
        balanced = plan if "stages" in fixed else replace(plan, stages=self.balanced(plan))
        return balanced if "bucket_bytes" in fixed else replace(balanced, bucket_bytes=self.bucket_bytes(balanced))

    def slower(self, plan: Plan) -> tuple[tuple[float, ...], ...]:
        """Of each replica, how many times longer each place along its pipeline computes than if all its ranks were as
        fast as the one that was measured: a stage waits for the tensor rank that is done last."""
        alike, mesh = self.machine.speeds.alike(plan.mesh), plan.mesh
        if alike is not None:
            return ((1 / alike,) * plan.pipeline,) * plan.data
        by_place = [sum(rank_layers(self._layers, plan, place), ()) for place in range(plan.pipeline)]
        costs = [self._layer_costs(plan, layers) for layers in by_place]
        works = [[sum(cost.each[tensor] for cost in some) for tensor in range(plan.tensor)] for some in costs]

        def ratio(place: int, data: int) -> float:
            ranks = (mesh.rank_at(pipeline=place, data=data, tensor=tensor) for tensor in range(plan.tensor))
            speeds = (self.machine.speeds.of_rank(rank, plan.ranks) for rank in ranks)
            return max(work / speed for work, speed in zip(works[place], speeds, strict=True)) / max(works[place])

        return tuple(tuple(ratio(place, data) for place in range(plan.pipeline)) for data in range(plan.data))

    def stage_seconds(self, plan: Plan) -> tuple[float, ...]:
        """What each place along the pipeline takes for a whole microbatch on ranks like the one that was measured."""
        embedding, *blocks, head = (cost.seconds for cost in self._layer_costs(plan))
        found = [0.0] * plan.pipeline
        for place, count in zip(plan.stage_rank, plan.stages, strict=True):
            found[place] += count * blocks[0]
        found[plan.stage_rank[0]] += embedding
        found[plan.last_place] += head
        return tuple(found)

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
            stages=self._in_order(plan, [list(self._parts(plan, n, stage, rounds)) for n, stage in enumerate(stages)]),
            stage_rank=plan.stage_rank,
            send=self.machine.message("send", pairs, size, plan.pipeline) if plan.pipeline > 1 else 0.0,
            exchange=self.machine.message("exchange", pairs, size, plan.pipeline) if plan.pipeline > 1 else 0.0,
            tensor_sums=self.sums.later(plan, stages, "tensor"),
            pipeline_sums=self.sums.later(plan, stages, "pipeline"),
            optimizer=self.updates.seconds(plan),
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
        stages = [stage_of(self.model, self.training, whole, rank) for rank in ranks]
        place, stage = max(enumerate(stages), key=lambda one: one[1].elements)
        first, *_ = self._rounds(plan)
        backward = _sum([cost.backward for cost in self._layer_costs(plan, stage.layers)])
        return self.sums.bucket_bytes(plan, stage, replace(first, part=1.0).seconds(backward, place))

    def _layer_costs(self, plan: Plan, layers: Sequence[Layer] | None = None) -> list[_LayerCost]:
        """Of these layers, or all: blocks of one model are alike, so that a layer's kind stands for it."""
        group = self.machine.spread(plan, "tensor")
        at_once = plan.data * group.crosses  # who shares a link between hosts
        pieces = plan.data if plan.sharding_level >= MET_EACH_ROUND else 0
        collected = (plan.data > 1, pieces)  # how gradients are
        at_work = self.machine.at_work(plan)
        at = (plan.microbatch, plan.tensor_shares, plan.sequence_parallel, collected, at_work, group, at_once)
        kinds = self._known.setdefault(at, {})
        asked = self._layers if layers is None else layers
        kinds.update({layer.kind: self._priced(layer, plan) for layer in asked if layer.kind not in kinds})
        return [kinds[layer.kind] for layer in asked]

    def _priced(self, layer: Layer, plan: Plan) -> _LayerCost:
        sequence = self.training.sequence_length
        like = tensor_ranks_alike(self.model, self.training, plan)
        unlike = tuple(dict.fromkeys(like))
        found = [operations_of(layer, self.model, sequence, plan, rank) for rank in unlike]
        messages = crossing_messages(layer, self.model, self.training, plan)
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
        return _LayerCost(
            forward=Phase(compute=max(forward), tensor=self._collectives(plan, (m for m in messages if m.forward))),
            backward=Phase(
                compute=max(backward), tensor=self._collectives(plan, (m for m in messages if not m.forward))
            ),
            each=tuple(both[rank] for rank in like),
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

    def _parts(self, plan: Plan, place: int, stage: Stage, rounds: Sequence[Round]) -> Iterator[StageCost]:
        """Of each stage at a place; the first goes backward last, and bears what follows."""
        whole = replace(rounds[0], part=1.0)
        parts = [self._layer_costs(plan, part) for part in stage.parts]
        phases = [(_sum([one.forward for one in part]), _sum([one.backward for one in part])) for part in parts]
        last = [cost.weights if plan.divides_backward else whole.seconds(cost.backward, place) for cost in parts[0]]
        data, slowed = self.sums.after_backward(plan, stage, last)
        if plan.averages:
            work = sum(one.seconds(phase, place) for one in rounds for both in phases for phase in both)
            data, slowed = self.sums.averages(plan, stage, work), 0.0
        data += self.sums.report(plan, place)
        forward, backward = (_sum([both[way] for both in phases]) for way in (0, 1))
        meanwhile = partial(self.sums.meanwhile, plan, place, stage)
        on_the_way = meanwhile("forward", whole.seconds(forward, place)) / len(parts)
        on_the_way_back = meanwhile("backward", whole.seconds(backward, place)) / len(parts)
        fetching = self.sums.fetching(plan, place, stage, "forward") / len(parts)
        fetching_back = self.sums.fetching(plan, place, stage, "backward") / len(parts)
        for turn, (part, (there, back)) in enumerate(zip(parts, phases, strict=True)):
            yield StageCost(
                forward=replace(there, data=on_the_way, compute=there.compute + fetching),
                backward=replace(back, data=on_the_way_back, compute=back.compute + fetching_back),
                data=0.0 if turn else data,
                slowed=0.0 if turn else slowed,
                weights=sum(cost.weights for cost in part),
            )

    def _rounds(self, plan: Plan) -> tuple[Round, ...]:
        def part(rows: int) -> float:  # of all layers' time
            if rows == plan.microbatch:
                return 1.0
            return self._layers_seconds(replace(plan, microbatch=rows)) / self._layers_seconds(plan)

        slower, seconds = self.slower(plan), self.stage_seconds(plan)
        return rounds_waited_for(plan, self.training.global_batch, slower, seconds, part)

    def _layers_seconds(self, plan: Plan) -> float:
        return sum(cost.seconds for cost in self._layer_costs(plan))


def _sum(phases: Sequence[Phase]) -> Phase:
    return Phase(compute=sum(one.compute for one in phases), tensor=sum(one.tensor for one in phases))
