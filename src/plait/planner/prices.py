"""The prices of one job on one measured machine: what each layer, message, sum and update of a plan takes.

    layers ──operations──> compute_cost ──────────────────────────┐
    crossings, transfers ──> communication_cost (`machine`) ──────┼──> StepCost
    sums, averages, new weights ──> `sum_prices` ─────────────────┘

A stage is as slow as the tensor rank that is done last; where ranks share cores, all wait for them; where ranks differ
in speed, each stage of a replica has its own, and all wait for the replica that `rounds` finds. It knows the parts of a
step, not the order in which a schedule puts them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil
from operator import mul

from plait.layers.gpt import describe_gpt
from plait.planner.alike import places_like
from plait.planner.balance import balanced_stages
from plait.planner.communication_volume import stage_message_bytes
from plait.planner.layer_prices import LayerCost, LayerPrices
from plait.planner.machine import Machine
from plait.planner.operations import Views
from plait.planner.rounds import rounds_waited_for
from plait.planner.serving_volume import busiest
from plait.planner.stage import Stage, placing, stages_of
from plait.planner.step_cost import Chores, Phase, Round, StageCost, StepCost
from plait.planner.sum_prices import SumPrices
from plait.planner.update_prices import UpdatePrices
from plait.planner.weight_volume import WeightMessage, When, fetched_units, weight_messages
from plait.plans.holdings import rank_layers
from plait.plans.plan import Plan
from plait.plans.rows import row_counts
from plait.specs.cluster import ClusterSpec
from plait.specs.links import LinkKind
from plait.specs.measurements import Measurements
from plait.specs.model import ModelSpec
from plait.specs.training import PRECISIONS, TrainingSpec

__all__ = ["JobPrices"]

_NO_LIMIT = 2**60  # of a bucket's bytes
_WAYS: tuple[When, When] = ("forward", "backward")
# What an action of the schedule takes beside its layers: handing over, the engine's start, code and hooks that are
# cold. Set by hand, from what actions of one to four layers of 64 tokens took longer, whatever they held.
_ACTION_VIEWS: dict[When, int] = {"forward": 20, "backward": 40}
_APART_VIEWS = 40  # gradients of weights that are made in an action of their own


class JobPrices:
    """The prices of one job on one measured machine, or on as many like it as `cluster` has nodes, with `links` so many
    times as fast as they are; remembers each layer's. Raises UnusableInput where the machine was not measured in the
    job's dtype."""

    def __init__(
        self,
        model: ModelSpec,
        training: TrainingSpec,
        measurements: Measurements,
        cluster: ClusterSpec | None = None,
        links: float = 1.0,
    ) -> None:
        policy = PRECISIONS[training.precision]
        self.model, self.training = model, training
        self.machine = Machine(measurements, policy.compute, cluster, links)
        self.layers = LayerPrices(self.machine, model, training)
        self.sums = SumPrices(self.machine, training)
        self.updates = UpdatePrices(self.machine, model, training)
        self._layers = describe_gpt(model)
        self._stages: dict[tuple[object, ...], tuple[int, ...]] = {}
        self._buckets: dict[Plan, int] = {}

    def balanced(self, plan: Plan, slower: tuple[float, ...] = ()) -> tuple[int, ...]:
        """The stages of this plan that make the slowest one fastest, embedding and head counted; `slower`: how many
        times longer each place along the pipeline computes than the rank that was measured."""
        embedding, *blocks, head = self.layers.seconds(plan)
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
        alike = self.machine.speeds.alike(plan.mesh)
        if alike is not None:
            return ((1 / alike,) * plan.pipeline,) * plan.data
        like, columns = places_like(plan), self.machine.speeds.columns(plan.mesh)
        works = {place: self._works(plan, place) for place in dict.fromkeys(like)}

        def ratio(place: int, speeds: Sequence[float]) -> float:
            work = works[like[place]]
            return max(one / speed for one, speed in zip(work, speeds, strict=True)) / max(work)

        found = [tuple(ratio(place, speeds) for place, speeds in enumerate(each)) for each in columns.different]
        return tuple(found[number] for number in columns.of_data)

    def _works(self, plan: Plan, place: int) -> list[float]:
        """What the tensor ranks at a place along the pipeline compute for one microbatch."""
        layers = (layer for part in rank_layers(self._layers, plan, place) for layer in part)
        costs = self.layers.of(plan, tuple(layers))
        return [sum(cost.each[tensor] for cost in costs) for tensor in range(plan.tensor)]

    def stage_seconds(self, plan: Plan) -> tuple[float, ...]:
        """What each place along the pipeline takes for a whole microbatch on ranks like the one that was measured."""
        embedding, *blocks, head = self.layers.seconds(plan)
        found = [0.0] * plan.pipeline
        for place, count in zip(plan.stage_rank, plan.stages, strict=True):
            found[place] += count * blocks[0]
        found[plan.stage_rank[0]] += embedding
        found[plan.last_place] += head
        return tuple(found)

    def paces(self, plan: Plan) -> tuple[float, ...]:
        """Of each replica, microbatches a second of its slowest stage."""
        seconds = self.stage_seconds(plan)
        return tuple(1 / max(map(mul, seconds, slower)) for slower in self.slower(plan))

    def rounds(self, plan: Plan, rows: Sequence[float] = ()) -> tuple[Round, ...]:
        """The microbatches of the replica that all wait for; as if data ranks had so many `rows`."""

        def part(size: float) -> float:  # of all layers' time
            if size == plan.microbatch:
                return 1.0
            whole = ceil(size)
            return size / whole * self._layers_seconds(replace(plan, microbatch=whole)) / self._layers_seconds(plan)

        rows = rows or row_counts(plan, self.training.global_batch)
        return rounds_waited_for(plan, rows, self.slower(plan), self.stage_seconds(plan), part)

    def step(self, plan: Plan) -> StepCost:
        """The parts of one step under a plan."""
        widest = plan.tensor_shares.index(max(plan.tensor_shares))  # the tensor rank that holds and sums most
        stages = stages_of(self.model, self.training, plan, data=busiest(plan), tensor=widest)
        size = stage_message_bytes(self.model, self.training, plan, plan.microbatch, tensor_rank=0)
        pairs = self.machine.neighbours(plan)
        rounds = self.rounds(plan)
        like = _places_that_cost_alike(plan, stages, rounds)
        sent = {place: weight_messages(stages[place], self.training, plan, place) for place in dict.fromkeys(like)}
        kinds = self.layers.by_kind(plan)
        parts = {place: tuple(self._parts(plan, place, stages[place], rounds, sent[place], kinds)) for place in sent}
        in_order = self._interrupted(plan, _in_order(plan, [parts[place] for place in like]))
        # of few microbatches a rank has one in its turn alone
        pause = _between_messages(plan, in_order) * plan.pipeline / min(len(rounds), plan.pipeline)

        def passed(kind: LinkKind) -> float:
            return self.machine.message(kind, pairs, size, plan.pipeline, pause) if plan.pipeline > 1 else 0.0

        return StepCost(
            stages=in_order,
            stage_rank=plan.stage_rank,
            send=passed("send"),
            exchange=passed("exchange"),
            tensor_sums=self.sums.later(plan, stages, "tensor"),
            pipeline_sums=self.sums.later(plan, stages, "pipeline", min(one.backward.total for one in in_order)),
            optimizer=self.updates.seconds(plan),
            renewal=self.sums.norm(plan, "data")
            + max(self.sums.renewing(plan, sent[place], parts[place][0].forward.total) for place in sent)
            + max(self.sums.served(plan, place, stages[place]) for place in sent),
            rounds=rounds,
        )

    def _interrupted(self, plan: Plan, stages: tuple[StageCost, ...]) -> tuple[StageCost, ...]:
        """The stages with what computing loses by the messages to their neighbours, of which each microbatch sends one
        there and one back; those within a rank are none."""
        each = [self.machine.overhead("send", one) for one in self.machine.boundaries(plan)]
        if not any(each):
            return stages
        around = zip([0.0, *each], [*each, 0.0], strict=True)
        return tuple(one.interrupted(sum(both)) for one, both in zip(stages, around, strict=True))

    def bucket_bytes(self, plan: Plan) -> int:
        """How large this plan's buckets should be, for the stage with most gradients."""
        if plan.data == 1:
            return plan.bucket_bytes
        asked = replace(plan, bucket_bytes=_NO_LIMIT, schedule=placing(plan))
        if asked not in self._buckets:
            self._buckets[asked] = self._best_bucket_bytes(asked)
        return self._buckets[asked]

    def _best_bucket_bytes(self, plan: Plan) -> int:
        stages = stages_of(self.model, self.training, plan)
        place, stage = max(enumerate(stages), key=lambda one: one[1].elements)
        first, *_ = self.rounds(plan)
        backward = _sum([cost.backward for cost in self.layers.of(plan, stage.layers)])
        return self.sums.bucket_bytes(plan, stage, replace(first, part=1.0).seconds(backward, place))

    def _parts(
        self,
        plan: Plan,
        place: int,
        stage: Stage,
        rounds: Sequence[Round],
        sent: Mapping[WeightMessage, int],
        kinds: Mapping[str, LayerCost],
    ) -> Iterator[StageCost]:
        """Of each stage at a place, to which weights are `sent`, of layers that cost as their `kinds` do; the first
        goes backward last, and bears what follows."""
        whole = replace(rounds[0], part=1.0)
        parts = [[kinds[layer.kind] for layer in part] for part in stage.parts]
        phases = [(_sum([one.forward for one in part]), _sum([one.backward for one in part])) for part in parts]
        last = [cost.weights if plan.divides_backward else whole.seconds(cost.backward, place) for cost in parts[0]]
        data, slowed = self.sums.after_backward(plan, stage, last)
        if plan.averages:
            work = sum(one.seconds(phase, place) for one in rounds for both in phases for phase in both)
            data, slowed = self.sums.averages(plan, stage, work), 0.0
        data += self.sums.report(plan, place)
        fetched = fetched_units(stage, self.training, plan, place)
        extra = [self.sums.fetching(plan, fetched, way) / len(parts) for way in _WAYS]
        works = [whole.seconds(_sum([both[n] for both in phases]), place) for n in range(len(_WAYS))]
        sending = [self.sums.meanwhile(plan, stage, sent, *one) / len(parts) for one in zip(_WAYS, works, strict=True)]
        apart = self._views(plan, _APART_VIEWS) if plan.divides_backward else 0.0
        around = [self._views(plan, _ACTION_VIEWS[way]) for way in _WAYS]
        around[-1] += apart
        for turn, (part, both) in enumerate(zip(parts, phases, strict=True)):
            forward, backward = (
                Phase(compute=one.compute + more + action, tensor=one.tensor, data=data_seconds)
                for one, more, action, data_seconds in zip(both, extra, around, sending, strict=True)
            )
            yield StageCost(
                forward=forward,
                backward=backward,
                data=0.0 if turn else data,
                slowed=0.0 if turn else slowed,
                weights=sum(cost.weights for cost in part) + apart,
                chores=Chores(sum(cost.collecting for cost in part), sum(extra), sum(around)),
            )

    def _views(self, plan: Plan, number: int) -> float:
        compute, at_work = self.machine.compute, self.machine.at_work(plan)
        return compute.work([Views(number, "forward")]).crowded(compute, at_work)

    def _layers_seconds(self, plan: Plan) -> float:
        return sum(self.layers.seconds(plan))


def _places_that_cost_alike(plan: Plan, stages: Sequence[Stage], rounds: Sequence[Round]) -> tuple[int, ...]:
    """For each place along the pipeline the first one with the same stage, on a rank as fast, that knows the loss as
    well or as little; where weights travel with the schedule, or to servers, each speaks for itself."""
    alone, kinds = plan.sharding_level == 3 or plan.served, {id(one): one for one in rounds}.values()
    first: dict[tuple[object, ...], int] = {}
    keys = (
        (stage, place == plan.last_place, alone and place, *(one.slower[place] for one in kinds if one.slower))
        for place, stage in enumerate(stages)
    )
    return tuple(first.setdefault(key, place) for place, key in enumerate(keys))


def _between_messages(plan: Plan, stages: Sequence[StageCost]) -> float:
    """Seconds that a rank works, at least, between two messages to the same neighbour: with every microbatch it sends
    one for each boundary to it, and one back for each boundary from it."""
    work: defaultdict[int, float] = defaultdict(float)
    for stage, place in zip(stages, plan.stage_rank, strict=True):
        work[place] += stage.seconds
    boundaries = [pair for pair in pairwise(plan.stage_rank) if pair[0] != pair[1]]
    sent = Counter([*boundaries, *((there, here) for here, there in boundaries)])
    return min((work[here] / times for (here, _), times in sent.items()), default=0.0)


def _in_order(plan: Plan, by_place: Sequence[Sequence[StageCost]]) -> tuple[StageCost, ...]:
    """What each place has of its stages, in the order of the stages."""
    coming = [iter(costs) for costs in by_place]
    return tuple(next(coming[place]) for place in plan.stage_rank)


def _sum(phases: Sequence[Phase]) -> Phase:
    return Phase(compute=sum(one.compute for one in phases), tensor=sum(one.tensor for one in phases))
