"""The prices of one job on one measured machine: what each layer, message, sum and update of a plan takes.

    layers ──operations──> compute_cost ──┐
    crossings, transfers, sums ──> communication_cost ──┴──> StepCost

A rank is as slow as the slowest of its tensor group; where ranks share cores, all wait for them. It knows the parts of
a step, not the order in which a schedule puts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from plait.layers.gpt import describe_gpt
from plait.layers.layer import Layer
from plait.planner.balance import balanced_stages
from plait.planner.communication_cost import CommunicationCost
from plait.planner.communication_volume import NUMBER_BYTES, Message, crossing_messages, stage_message_bytes
from plait.planner.compute_cost import ComputeCost
from plait.planner.memory import optimizer_bytes
from plait.planner.operations import Move, operations_of
from plait.planner.packing_cost import packing_operations
from plait.planner.serving_volume import busiest, served_messages, transfer_seconds
from plait.planner.stage import Stage, stage_of
from plait.planner.step_cost import Phase, StageCost, StepCost
from plait.planner.weight_volume import When, weight_messages
from plait.plans.compression import Message as Traveling
from plait.plans.plan import Plan
from plait.plans.reductions import Reduction, norm_axes
from plait.plans.rows import busiest_data_rank, microbatches_of, rounds_of
from plait.sharding.redistribute import CollectiveKind
from plait.specs.compression import compression_of
from plait.specs.links import LinkKind
from plait.specs.measurements import Measurements
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["HOST_RATE", "JobPrices", "PackingSeconds"]

_COLLECTIVES: dict[CollectiveKind, LinkKind] = {
    "all_reduce": "all_reduce",
    "reduce_scatter": "reduce_scatter",
    "all_gather": "all_gather",
    "all_to_all": "all_gather",  # as many bytes, if to other places
}


HOST_RATE = 10e9  # bytes a second that a rank's update reads and writes in the memory of a device's host: assumed
_OFFLOADED = 3  # copies of all elements: a gradient to host memory, the new weight's cast, and back
_AVERAGING = 5  # copies of all elements: what they changed by, its mean, the outer step, and back


@dataclass(frozen=True, kw_only=True)
class PackingSeconds:
    """Seconds in which a rank compresses its gradients while backward runs, and sums what came after it."""

    start: float
    end: float

    @property
    def total(self) -> float:
        """Both."""
        return self.start + self.end


@dataclass(frozen=True, kw_only=True)
class _LayerCost:
    forward: Phase
    backward: Phase


class JobPrices:
    """The prices of one job on one measured machine; remembers each layer's. Raises UnusableInput where the machine
    was not measured in the job's dtype."""

    def __init__(self, model: ModelSpec, training: TrainingSpec, measurements: Measurements) -> None:
        self.model, self.training = model, training
        policy = PRECISIONS[training.precision]
        self.compute = ComputeCost(measurements, policy.compute)
        self.communication = CommunicationCost(measurements)
        host = measurements.host
        on_cpu = host is not None and host.device == "cpu"
        self.cores = float(host.cores) if host is not None and on_cpu else None  # a device of its own shares nothing
        self.memory_bytes = host.memory_bytes if host is not None else None
        self.shares_memory = on_cpu
        self._layers = describe_gpt(model)
        self._reduced, self._master = ITEMSIZE[policy.reduce], ITEMSIZE[policy.master]
        self._copies = policy.master != policy.compute
        self._known: dict[tuple[object, ...], _LayerCost] = {}

    def balanced(self, plan: Plan) -> tuple[int, ...]:
        """The stages of this plan that make the slowest one fastest, embedding and head counted."""
        layers = [self._layer_cost(layer, plan) for layer in self._layers]
        embedding, *blocks, head = (cost.forward.total + cost.backward.total for cost in layers)
        return balanced_stages(blocks, plan.pipeline, embedding=embedding, head=head)

    def step(self, plan: Plan) -> StepCost:
        """The parts of one step under a plan."""
        widest = plan.tensor_shares.index(max(plan.tensor_shares))  # the tensor rank that holds and sums most
        places = range(plan.pipeline)
        ranks = [plan.mesh.rank_at(pipeline=place, data=busiest(plan), tensor=widest) for place in places]
        stages = [stage_of(self.model, self.training, plan, rank) for rank in ranks]
        size = stage_message_bytes(self.model, self.training, plan, tensor_rank=0)
        return StepCost(
            stages=tuple(self._stage(plan, place, stage) for place, stage in enumerate(stages)),
            send=self._message("send", 2, size, plan.pipeline) if plan.pipeline > 1 else 0.0,
            exchange=self._message("exchange", 2, size, plan.pipeline) if plan.pipeline > 1 else 0.0,
            tensor_sums=self._later_sums(plan, stages, "tensor"),
            pipeline_sums=self._later_sums(plan, stages, "pipeline"),
            optimizer=max(self._optimizer(plan, rank) for rank in range(plan.ranks) if _keeps_most(plan, rank)),
            renewal=self._norm(plan, "data")
            + max(self._gathers(plan, place, stage, "update") for place, stage in enumerate(stages))
            + max(self._served(plan, place, stage) for place, stage in enumerate(stages)),
            last=self._last_part(plan),
        )

    def packing_seconds(self, plan: Plan, stage: Stage) -> PackingSeconds:
        """What compressing costs a rank of this stage, beside what travels."""
        if not plan.compresses:
            return PackingSeconds(start=0.0, end=0.0)
        shapes = {one.weight.name: one.shape for one in stage.held}
        form, at_work = compression_of(plan.compression), self._at_work(plan)
        buckets = [packing_operations(one, shapes, form, plan.data) for one in stage.sums if one.axis == "data"]
        start, end = (
            sum(self.compute.work(getattr(one, when)).crowded(self.compute, at_work) for one in buckets)
            for when in ("start", "end")
        )
        crowd = self.crowd(plan.data * plan.tensor)
        return PackingSeconds(start=start * crowd, end=end * crowd)

    def sum_seconds(self, plan: Plan, stage: Stage) -> float:
        """Seconds in which a stage's gradients travel along the data axis, once, one bucket after another."""
        at_once = plan.data * plan.tensor
        return sum(self._sum_seconds(plan, one, at_once) for one in stage.sums if one.axis == "data")

    def crowd(self, ranks: int) -> float:
        """How many times longer anything takes where `ranks` ranks share the cores."""
        return max(1.0, ranks / self.cores) if self.cores else 1.0

    def _message(self, kind: LinkKind, group: int, size: int, at_once: int) -> float:
        """A message between `group` ranks while `at_once` are at it: a link between more ranks than cores was measured
        with them sharing the cores, and is not slowed down twice."""
        alone = self.communication.seconds(kind, group, size) / self.crowd(group)
        return alone * self.crowd(max(group, at_once))

    # ---- computing -----------------------------------------------------------------------------------------------

    def _layer_cost(self, layer: Layer, plan: Plan) -> _LayerCost:
        # blocks of one model are alike: a layer's kind stands for it
        key = (layer.kind, plan.microbatch, plan.tensor_shares, plan.sequence_parallel, self._at_work(plan))
        if key not in self._known:
            self._known[key] = self._priced(layer, plan)
        return self._known[key]

    def _priced(self, layer: Layer, plan: Plan) -> _LayerCost:
        sequence = self.training.sequence_length
        found = [operations_of(layer, self.model, sequence, plan, rank) for rank in range(plan.tensor)]
        at_work = self._at_work(plan)
        forward = max(self.compute.work(one.forward).crowded(self.compute, at_work) for one in found)
        backward = max(self.compute.work(one.backward).crowded(self.compute, at_work) for one in found)
        messages = crossing_messages(layer, self.model, self.training, plan)
        return _LayerCost(
            forward=Phase(compute=forward, tensor=self._collectives(plan, (m for m in messages if m.forward))),
            backward=Phase(compute=backward, tensor=self._collectives(plan, (m for m in messages if not m.forward))),
        )

    def _collectives(self, plan: Plan, messages: Iterable[Message]) -> float:
        """Alone: the simulation slows all of a stage's work down where ranks share cores."""
        found = (self.communication.seconds(_COLLECTIVES[m.kind], plan.tensor, m.bytes) for m in messages)
        return sum(found) / self.crowd(plan.tensor)

    def _at_work(self, plan: Plan) -> int:
        """Ranks that compute at the same time, each on a core of its own."""
        return min(plan.ranks, int(self.cores)) if self.cores else plan.ranks

    def _stage(self, plan: Plan, place: int, stage: Stage) -> StageCost:
        costs = [self._layer_cost(layer, plan) for layer in stage.layers]
        data, slowed = self._sums_over_data(plan, place, stage, [cost.backward.total for cost in costs])
        forward, backward = (_sum([getattr(cost, way) for cost in costs]) for way in ("forward", "backward"))
        return StageCost(
            forward=replace(forward, data=self._between(plan, place, stage, "forward", forward.total)),
            backward=replace(backward, data=self._between(plan, place, stage, "backward", backward.total)),
            data=data,
            slowed=slowed,
        )

    def _last_part(self, plan: Plan) -> float:
        """What part of a microbatch's time the last one takes on the data rank with the most rows: all layers'."""
        batch = self.training.global_batch
        first, *_, last = (sizes := microbatches_of(plan, batch, busiest_data_rank(plan, batch))) * 2
        whole, smaller = (replace(plan, microbatch=size) for size in (first, last))
        return 1.0 if len(set(sizes)) == 1 else self._layers_seconds(smaller) / self._layers_seconds(whole)

    def _layers_seconds(self, plan: Plan) -> float:
        costs = (self._layer_cost(layer, plan) for layer in self._layers)
        return sum(cost.forward.total + cost.backward.total for cost in costs)

    def _optimizer(self, plan: Plan, rank: int) -> float:
        stage = stage_of(self.model, self.training, plan, rank)
        elements = stage.kept_elements
        seconds = self._update(plan, stage)
        if self.training.clip_norm > 0:
            seconds += self.compute.move_seconds(Move("square_sum", elements, elements, "forward"))
        _, memory = self.compute.crowding(self._at_work(plan))
        updates = plan.workers if plan.asynchronous else 1  # in as long as a step of one worker takes
        return updates * seconds * memory * self.crowd(plan.ranks)

    def _update(self, plan: Plan, stage: Stage) -> float:
        """Seconds from gradients to new weights. Under offload a device's copies hide behind the host's work."""
        if plan.offloads and not self.shares_memory:
            return 2 * optimizer_bytes(stage.kept, self.training, plan) / HOST_RATE
        elements = stage.kept_elements
        copies = _OFFLOADED if plan.offloads else self._copies
        copying = copies * self.compute.move_seconds(Move("copy", elements, elements, "forward"))
        name, tensors = self.training.optimizer, len(stage.kept)
        return self.compute.optimizer_seconds(name, tensors, elements, self._master) + copying

    # ---- sums of gradients ---------------------------------------------------------------------------------------

    def _sums_over_data(self, plan: Plan, place: int, stage: Stage, backward: Sequence[float]) -> tuple[float, float]:
        """Seconds after the last backward, and seconds that it takes longer: buckets leave one after another, each when
        its last gradient is there."""
        if plan.data == 1 or plan.asynchronous:
            return 0.0, 0.0
        at_once = plan.data * plan.tensor
        backward = [seconds * self.crowd(at_once) for seconds in backward]
        made = _ready(stage.layers, backward)
        finished = spent = 0.0
        for bucket in (one for one in stage.sums if one.axis == "data" and not one.each_microbatch):
            seconds = self._sum_seconds(plan, bucket, at_once)
            finished = max(finished, *(made[piece.name] for piece in bucket.pieces)) + seconds
            spent += seconds
        after = min(spent, max(0.0, finished - sum(backward)))
        share = self.communication.exposed_share(plan.data, cores=self.cores, at_work=plan.ranks)
        report = self._message("all_reduce", plan.data, NUMBER_BYTES, at_once) if place == plan.pipeline - 1 else 0.0
        packing = self.packing_seconds(plan, stage)
        if plan.averages:
            work = self.compute.move_seconds(Move("copy", stage.elements, stage.elements, "forward"))
            often = spent + packing.total + _AVERAGING * work * self.crowd(at_once)
            return often / plan.local_steps + report, 0.0
        return after + packing.end + report, share * (spent - after) + packing.start

    def _sum_seconds(self, plan: Plan, bucket: Reduction, at_once: int) -> float:
        """A reduce-scatter where gradients lie is the first half of an all-reduce there, an all-gather the second. What
        is compressed lies elsewhere."""
        if bucket.packing is not None and bucket.packing.compressed:
            found = (self._message(_COLLECTIVES[m.kind], plan.data, m.bytes, at_once) for m in bucket.packing.messages)
            return sum(found)
        if plan.served:
            return self._passed(bucket.messages(self._reduced), at_once)
        half = 1.0 if bucket.kind == "all_reduce" else 0.5
        return half * self._message("all_reduce_in_place", plan.data, bucket.elements * self._reduced, at_once)

    def _gathers(self, plan: Plan, place: int, stage: Stage, when: When) -> float:
        """Seconds of all all-gathers of weights that forward, backward or the end of one step waits for."""
        at_once = plan.data * plan.tensor
        found = (one for one in weight_messages(stage, self.training, plan, place) if one.when == when)
        return sum(0.5 * self._message("all_reduce_in_place", plan.data, one.bytes, at_once) for one in found)

    def _passed(self, messages: Sequence[Traveling], at_once: int) -> float:
        """Sends and receives of one rank with servers: what travels, and is packed or added up, one after the other."""
        elements = sum(one.bytes for one in messages) // self._reduced
        copies = self.compute.move_seconds(Move("copy", elements, elements, "forward")) * self.crowd(at_once)
        return copies + transfer_seconds(messages, lambda kind, size: self._message(kind, 2, size, at_once))

    def _between(self, plan: Plan, place: int, stage: Stage, when: When, work: float) -> float:
        """Seconds that one microbatch's forward or backward takes longer for what travels under ZeRO meanwhile: its
        exposed share, and all that its `work` is too short to hide."""
        if plan.sharding_level < 2:
            return 0.0
        at_once = plan.data * plan.tensor
        spent = self._gathers(plan, place, stage, when) / rounds_of(plan, self.training.global_batch)
        if when == "backward":
            sums = (one for one in stage.sums if one.each_microbatch)
            spent += sum(self._sum_seconds(plan, bucket, at_once) for bucket in sums)
        spent /= self.crowd(at_once)  # the simulation slows all of a stage's work down
        share = self.communication.exposed_share(plan.data, cores=self.cores, at_work=plan.ranks)
        return max(share * spent, spent - work)

    def _served(self, plan: Plan, place: int, stage: Stage) -> float:
        """Seconds of what travels under a parameter server beside sums of gradients."""
        messages = tuple(served_messages(stage, self.training, plan, busiest(plan), place))
        return self._passed(messages, plan.data * plan.tensor)

    def _later_sums(self, plan: Plan, stages: Sequence[Stage], axis: str) -> float:
        """Sums over `axis` after those over the data axis, on the stage that has most of them, and the norm's."""
        slowest = 0.0
        for stage in stages:
            sums = [one for one in stage.sums if one.axis == axis]
            found = [self._message("all_reduce", len(s.members), s.elements * self._reduced, plan.ranks) for s in sums]
            slowest = max(slowest, sum(found))
        again = 1 / plan.local_steps if plan.averages else 0.0
        return (1 + again) * slowest + self._norm(plan, axis)

    def _norm(self, plan: Plan, axis: str) -> float:
        """Seconds in which the squares of the norm are summed over an axis."""
        clips = self.training.clip_norm > 0 and axis in norm_axes(plan)
        return self._message("all_reduce", plan.mesh.size(axis), NUMBER_BYTES, plan.ranks) if clips else 0.0


def _keeps_most(plan: Plan, rank: int) -> bool:
    return plan.mesh.coordinate(rank, "data") == plan.keepers.start


def _sum(phases: Sequence[Phase]) -> Phase:
    return Phase(compute=sum(one.compute for one in phases), tensor=sum(one.tensor for one in phases))


def _ready(layers: Sequence[Layer], backward: Sequence[float]) -> dict[str, float]:
    """When backward has made each weight's gradient, by name; a tied weight's when it has been at both places."""
    made: dict[str, float] = {}
    now = 0.0
    for layer, seconds in zip(reversed(layers), reversed(backward), strict=True):
        now += seconds
        made.update({weight.name: now for weight in layer.weights})
    return made
