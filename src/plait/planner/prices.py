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
from plait.planner.spread import Spread, inside, neighbours, spread_of
from plait.planner.stage import Stage, stage_of
from plait.planner.step_cost import Phase, StageCost, StepCost
from plait.planner.weight_volume import When, weight_messages
from plait.plans.compression import Message as Traveling
from plait.plans.meetings import DELAY, arrives_late
from plait.plans.plan import Plan
from plait.plans.reductions import MET_EACH_ROUND, Reduction, norm_axes
from plait.plans.rows import busiest_data_rank, microbatches_of, rounds_of
from plait.sharding.buckets import MOST_BUCKET_BYTES, best_bucket_bytes
from plait.sharding.redistribute import CollectiveKind
from plait.specs.cluster import ClusterSpec
from plait.specs.compression import compression_of
from plait.specs.links import LinkKind, LinkSpeed
from plait.specs.measurements import Measurements
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec
from plait.specs.values import MOST_RANKS

__all__ = ["HOST_RATE", "JobPrices", "PackingSeconds"]

_COLLECTIVES: dict[CollectiveKind, LinkKind] = {
    "all_reduce": "all_reduce",
    "reduce_scatter": "reduce_scatter",
    "all_gather": "all_gather",
    "all_to_all": "all_gather",  # as many bytes, if to other places
}


_NO_LIMIT = 2**60  # of a bucket's bytes
_MOST_STAGED = 25 * 2**20  # where two buckets stand beside the pieces that are kept
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
    """The prices of one job on one measured machine, or on as many like it as `cluster` has nodes; remembers each
    layer's. Raises UnusableInput where the machine was not measured in the job's dtype."""

    def __init__(
        self,
        model: ModelSpec,
        training: TrainingSpec,
        measurements: Measurements,
        cluster: ClusterSpec | None = None,
    ) -> None:
        place = cluster or ClusterSpec()
        self.nodes = place.nodes
        self._ranks_a_node = place.ranks_a_node if place.nodes > 1 else MOST_RANKS
        self.model, self.training = model, training
        policy = PRECISIONS[training.precision]
        self.compute = ComputeCost(measurements, policy.compute)
        self.communication = CommunicationCost(measurements, place.inter_link)
        host = measurements.host
        on_cpu = host is not None and host.device == "cpu"
        # of all hosts; a device of its own shares nothing
        self.cores = float(host.cores * self.nodes) if host is not None and on_cpu else None
        self.memory_bytes = host.memory_bytes * (self.nodes if on_cpu else 1) if host is not None else None
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
        pairs = neighbours(plan.mesh, self._ranks_a_node)
        return StepCost(
            stages=tuple(self._stage(plan, place, stage) for place, stage in enumerate(stages)),
            send=self._message("send", pairs, size, plan.pipeline) if plan.pipeline > 1 else 0.0,
            exchange=self._message("exchange", pairs, size, plan.pipeline) if plan.pipeline > 1 else 0.0,
            tensor_sums=self._later_sums(plan, stages, "tensor"),
            pipeline_sums=self._later_sums(plan, stages, "pipeline"),
            optimizer=max(self._optimizer(plan, rank) for rank in range(plan.ranks) if _keeps_most(plan, rank)),
            renewal=self._norm(plan, "data")
            + max(self._gathers(plan, place, stage, "update") for place, stage in enumerate(stages))
            + max(self._served(plan, place, stage) for place, stage in enumerate(stages)),
            last=self._last_part(plan),
        )

    def bucket_bytes(self, plan: Plan) -> int:
        """How large this plan's buckets should be, for the stage with most gradients (`best_bucket_bytes`)."""
        if plan.data == 1:
            return plan.bucket_bytes
        whole = replace(plan, bucket_bytes=_NO_LIMIT)
        ranks = [plan.mesh.rank_at(pipeline=place, data=0, tensor=0) for place in range(plan.pipeline)]
        stage = max((stage_of(self.model, self.training, whole, rank) for rank in ranks), key=lambda one: one.elements)
        sums, at_once = [one for one in stage.sums if one.axis == "data"], plan.data * plan.tensor
        alpha = sum(self._sum_seconds(plan, _least(one), at_once) for one in sums)
        seconds = sum(self._sum_seconds(plan, one, at_once) for one in sums)
        size = float(stage.elements * self._reduced)
        backward = sum(self._layer_cost(layer, plan).backward.total for layer in stage.layers) * self.crowd(at_once)
        share = self.communication.exposed_share(self.spread(plan, "data"), cores=self.cores, at_work=plan.ranks)
        return best_bucket_bytes(
            size,
            alpha=alpha,
            bytes_per_second=size / max(seconds - alpha, 1e-12),
            backward_seconds=backward,
            exposed=share,
            most=_MOST_STAGED if plan.sharding_level >= MET_EACH_ROUND else MOST_BUCKET_BYTES,
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

    def in_background(self, plan: Plan) -> bool:
        """Whether replicas compute while what they send each other goes on."""
        return self.communication.in_background(self.spread(plan, "data"))

    def receives_ahead(self, plan: Plan) -> bool:
        """Whether stages expect a transfer before they need it."""
        return self.communication.receives_ahead(neighbours(plan.mesh, self._ranks_a_node))

    def spread(self, plan: Plan, axis: str, members: tuple[int, ...] | None = None) -> Spread:
        """Where the ranks along an axis stand, or those at some places of it."""
        return spread_of(plan.mesh, axis, self._ranks_a_node, members)

    @property
    def between_hosts(self) -> LinkSpeed | None:
        """What is taken to join the hosts; None where there is one."""
        return self.communication.between if self.nodes > 1 else None

    def algorithm(self, plan: Plan, kind: CollectiveKind, size: int) -> str:
        """What performs such a message along the data axis."""
        return self.communication.algorithm(_COLLECTIVES[kind], self.spread(plan, "data"), size)

    def _message(self, kind: LinkKind, group: Spread, size: int, at_once: int) -> float:
        """A message in a group while `at_once` ranks are at it: a link between more ranks than cores was measured with
        them sharing the cores, and is not slowed down twice; one between hosts does not ask for cores."""
        seconds = self.communication.seconds(kind, group, size)
        if group.crosses:
            return seconds
        return seconds / self.crowd(group.ranks) * self.crowd(max(group.ranks, at_once))

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
        group = self.spread(plan, "tensor")
        found = (self.communication.seconds(_COLLECTIVES[m.kind], group, m.bytes) for m in messages)
        return sum(found) / self.crowd(plan.data * plan.tensor if group.crosses else plan.tensor)

    def _at_work(self, plan: Plan) -> int:
        """Ranks of one host that compute at the same time, each on a core of its own."""
        ranks = min(plan.ranks, int(self.cores)) if self.cores else plan.ranks
        return -(-ranks // self.nodes)

    def _stage(self, plan: Plan, place: int, stage: Stage) -> StageCost:
        costs = [self._layer_cost(layer, plan) for layer in stage.layers]
        forward, backward = (_sum([getattr(cost, way) for cost in costs]) for way in ("forward", "backward"))
        data, slowed = self._sums_over_data(plan, stage, [cost.backward.total for cost in costs])
        if plan.averages:
            data, slowed = self._averages(plan, stage, forward.total + backward.total), 0.0
        return StageCost(
            forward=replace(forward, data=self._between(plan, place, stage, "forward", forward.total)),
            backward=replace(backward, data=self._between(plan, place, stage, "backward", backward.total)),
            data=data + self._report(plan, place),
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

    def _report(self, plan: Plan, place: int) -> float:
        """Seconds in which replicas add up their losses."""
        tells = plan.data > 1 and place == plan.pipeline - 1 and not plan.asynchronous
        group = self.spread(plan, "data")
        return self._message("all_reduce", group, NUMBER_BYTES, plan.data * plan.tensor) if tells else 0.0

    def _sums_over_data(self, plan: Plan, stage: Stage, backward: Sequence[float]) -> tuple[float, float]:
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
        group = self.spread(plan, "data")
        share = self.communication.exposed_share(group, cores=self.cores, at_work=plan.ranks)
        packing = self.packing_seconds(plan, stage)
        return after + packing.end, share * (spent - after) + packing.start

    def _averages(self, plan: Plan, stage: Stage, microbatch: float) -> float:
        """Seconds a step of meetings in every `local_steps`; a `microbatch` keeps the stage so long. What arrives late
        is exposed as far as `DELAY` steps are too short for it, and where moving it takes the cores from them; but a
        form of two messages sends its second one while all wait."""
        at_once = plan.data * plan.tensor
        copy = self.compute.move_seconds(Move("copy", stage.elements, stage.elements, "forward"))
        seconds = self.packing_seconds(plan, stage).total + _AVERAGING * copy * self.crowd(at_once)
        seconds += self.sum_seconds(plan, stage)
        group = self.spread(plan, "data")
        if arrives_late(plan, in_background=self.in_background(plan)):
            step = microbatch * rounds_of(plan, self.training.global_batch) * self.crowd(at_once)
            first = (_first_message(one) for one in stage.sums if one.axis == "data")
            hidden = min(DELAY * step, sum(self._sum_seconds(plan, one, at_once) for one in first))
            share = self.communication.exposed_share(group, cores=self.cores, at_work=plan.ranks)
            seconds -= (1 - share) * hidden
        return seconds / plan.local_steps

    def _sum_seconds(self, plan: Plan, bucket: Reduction, at_once: int) -> float:
        """A reduce-scatter where gradients lie is the first half of an all-reduce there, an all-gather the second. What
        is compressed lies elsewhere."""
        group = self.spread(plan, "data")
        if bucket.packing is not None and bucket.packing.compressed:
            return sum(self._message(_COLLECTIVES[m.kind], group, m.bytes, at_once) for m in bucket.packing.messages)
        if plan.served:
            return self._passed(plan, bucket.messages(self._reduced), exchanged=True)
        size = bucket.elements * self._reduced
        if group.crosses:
            return self._message(bucket.kind, group, size, at_once)
        half = 1.0 if bucket.kind == "all_reduce" else 0.5
        return half * self._message("all_reduce_in_place", group, size, at_once)

    def _gathers(self, plan: Plan, place: int, stage: Stage, when: When) -> float:
        """Seconds of all all-gathers of weights that forward, backward or the end of one step waits for."""
        at_once = plan.data * plan.tensor
        found = (one for one in weight_messages(stage, self.training, plan, place) if one.when == when)
        group = self.spread(plan, "data")
        if group.crosses:
            return sum(self._message("all_gather", group, one.bytes, at_once) for one in found)
        return sum(0.5 * self._message("all_reduce_in_place", group, one.bytes, at_once) for one in found)

    def _passed(self, plan: Plan, messages: Sequence[Traveling], *, exchanged: bool) -> float:
        """Sends and receives of one rank with servers: what travels, and is packed or added up, one after the other."""
        at_once, group = plan.data * plan.tensor, self.spread(plan, "data")
        pair = Spread(hosts=(1, 1), groups=group.groups) if group.crosses else inside(2)
        elements = sum(one.bytes for one in messages) // self._reduced
        copies = self.compute.move_seconds(Move("copy", elements, elements, "forward")) * self.crowd(at_once)
        return copies + transfer_seconds(
            messages, lambda kind, size: self._message(kind, pair, size, at_once), exchanged=exchanged
        )

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
        group = self.spread(plan, "data")
        share = self.communication.exposed_share(group, cores=self.cores, at_work=plan.ranks)
        return max(share * spent, spent - work)

    def _served(self, plan: Plan, place: int, stage: Stage) -> float:
        """Seconds of what travels under a parameter server beside sums of gradients."""
        messages = tuple(served_messages(stage, self.training, plan, busiest(plan), place))
        return self._passed(plan, messages, exchanged=not plan.asynchronous)

    def _later_sums(self, plan: Plan, stages: Sequence[Stage], axis: str) -> float:
        """Sums over `axis` after those over the data axis, on the stage that has most of them, and the norm's."""
        slowest = 0.0
        for stage in stages:
            sums = [one for one in stage.sums if one.axis == axis]
            groups = [self.spread(plan, axis, one.members) for one in sums]
            found = [
                self._message("all_reduce", group, one.elements * self._reduced, plan.ranks)
                for one, group in zip(sums, groups, strict=True)
            ]
            slowest = max(slowest, sum(found))
        again = 1 / plan.local_steps if plan.averages else 0.0
        return (1 + again) * slowest + self._norm(plan, axis)

    def _norm(self, plan: Plan, axis: str) -> float:
        """Seconds in which the squares of the norm are summed over an axis."""
        clips = self.training.clip_norm > 0 and axis in norm_axes(plan)
        return self._message("all_reduce", self.spread(plan, axis), NUMBER_BYTES, plan.ranks) if clips else 0.0


def _least(bucket: Reduction) -> Reduction:
    """The same messages with hardly anything in them."""
    if bucket.packing is None:
        return replace(bucket, elements=1)
    messages = tuple(message._replace(bytes=1) for message in bucket.packing.messages)
    return replace(bucket, elements=1, packing=replace(bucket.packing, messages=messages))


def _first_message(bucket: Reduction) -> Reduction:
    """A bucket's sum without what is sent only once the first has come."""
    packing = bucket.packing
    if packing is None or not packing.compressed:
        return bucket
    return replace(bucket, packing=replace(packing, messages=packing.messages[:1]))


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
