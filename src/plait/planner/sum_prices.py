"""What replicas, tensor ranks and stages tell each other around a step, in seconds: sums of gradients, and what else
stands beside the schedule.

    backward       sums over data, bucket by bucket; under ZeRO weights that are fetched meanwhile
    after it       what backward did not hide │ sums over tensor and pipeline │ norm │ new weights, as far as the next
                   forward doesn't hide them
    every H steps  averages, where replicas learn alone

It knows the sums of a plan's stages and the machine; of a layer only when backward is done with it, which it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from plait.estimates.overlap import in_pieces
from plait.planner.communication_volume import NUMBER_BYTES
from plait.planner.machine import Machine
from plait.planner.operations import Move, Views
from plait.planner.packing_cost import packing_operations
from plait.planner.serving_volume import busiest, served_messages, transfer_seconds
from plait.planner.spread import Spread, inside
from plait.planner.stage import Stage
from plait.planner.weight_volume import Fetch, WeightMessage, When
from plait.plans.compression import Message as Traveling
from plait.plans.meetings import DELAY, arrives_late
from plait.plans.plan import Plan
from plait.plans.reductions import MET_EACH_ROUND, Reduction, norm_axes
from plait.plans.rows import rounds_of
from plait.sharding.buckets import MOST_BUCKET_BYTES, best_bucket_bytes
from plait.sharding.redistribute import CollectiveKind
from plait.specs.compression import compression_of
from plait.specs.links import LinkKind
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["COLLECTIVES", "PackingSeconds", "SumPrices"]

COLLECTIVES: dict[CollectiveKind, LinkKind] = {
    "all_reduce": "all_reduce",
    "reduce_scatter": "reduce_scatter",
    "all_gather": "all_gather",
    "all_to_all": "all_gather",  # as many bytes, if to other places (`CommunicationCost.all_to_all_seconds`)
    "send": "send",
    "receive": "send",
}

_MOST_STAGED = 25 * 2**20  # where two buckets stand beside the pieces that are kept
# counted by reading, and held to the 0.3 ms that a unit of 200,000 elements took: a turn and a message; of each weight
# memory, a copy from each of two ranks, and no memory again
_UNIT_VIEWS, _FETCHED_VIEWS = 6, 4
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


class SumPrices:
    """The seconds of one job's sums on one machine."""

    def __init__(self, machine: Machine, training: TrainingSpec) -> None:
        self.machine, self.training = machine, training
        self._reduced = ITEMSIZE[PRECISIONS[training.precision].reduce]

    def algorithm(self, plan: Plan, kind: CollectiveKind, size: int) -> str:
        """What performs such a message along the data axis."""
        return self.machine.communication.algorithm(COLLECTIVES[kind], self.machine.spread(plan, "data"), size)

    def bucket_bytes(self, plan: Plan, stage: Stage, backward: float) -> int:
        """How large this plan's buckets should be for a stage whose gradients are one bucket each kind, and whose
        `backward` takes so many seconds (`best_bucket_bytes`)."""
        at_once = plan.data * plan.tensor
        least = [_least(one) for one in stage.over_data]
        latency = self._sums_seconds(plan, least)
        seconds = self.sum_seconds(plan, stage)
        size = float(stage.elements * self._reduced)
        return best_bucket_bytes(
            size,
            alpha=latency + self._overheads(plan, least) * self.machine.crowd(at_once),
            bytes_per_second=size / max(seconds - latency, 1e-12),
            backward_seconds=backward * self.machine.crowd(at_once),
            exposed=self.machine.exposed_share(plan),
            most=_MOST_STAGED if plan.sharding_level >= MET_EACH_ROUND else MOST_BUCKET_BYTES,
        )

    def packing_seconds(self, plan: Plan, stage: Stage) -> PackingSeconds:
        """What compressing costs a rank of this stage, beside what travels."""
        if not plan.compresses:
            return PackingSeconds(start=0.0, end=0.0)
        shapes = {one.weight.name: one.shape for one in stage.held}
        form, at_work = compression_of(plan.compression), self.machine.at_work(plan)
        hosts = self.machine.levels(plan)
        buckets = [packing_operations(one, shapes, form, plan.data, hosts) for one in stage.over_data]
        start, end = (
            sum(self.machine.compute.work(getattr(one, when)).crowded(self.machine.compute, at_work) for one in buckets)
            for when in ("start", "end")
        )
        crowd = self.machine.crowd(plan.data * plan.tensor)
        return PackingSeconds(start=start * crowd, end=end * crowd)

    def sum_seconds(self, plan: Plan, stage: Stage) -> float:
        """Seconds in which a stage's gradients travel along the data axis, once, one bucket after another."""
        return self._sums_seconds(plan, stage.over_data)

    def _sums_seconds(self, plan: Plan, sums: Iterable[Reduction]) -> float:
        group = self.machine.spread(plan, "data")
        return sum(self._sum_seconds(plan, one, group) for one in sums)

    def report(self, plan: Plan, place: int) -> float:
        """Seconds in which replicas add up their losses."""
        tells = plan.data > 1 and place == plan.last_place and not plan.asynchronous
        group = self.machine.spread(plan, "data")
        return self.machine.message("all_reduce", group, NUMBER_BYTES, plan.data * plan.tensor) if tells else 0.0

    def after_backward(self, plan: Plan, stage: Stage, backward: Sequence[float]) -> tuple[float, float]:
        """Seconds after the last backward, and seconds that it takes longer: buckets leave one after another, each when
        its last gradient is there. `backward`: by layer of the rank's first stage."""
        if plan.data == 1 or plan.asynchronous:
            return 0.0, 0.0
        crowd, group = self.machine.crowd(plan.data * plan.tensor), self.machine.spread(plan, "data")
        backward = [seconds * crowd for seconds in backward]
        done = [*accumulate(reversed(backward))][::-1]  # by layer
        finished = spent = 0.0
        for bucket, layer in zip(stage.over_data, stage.leaves_after, strict=True):
            if not bucket.each_microbatch:
                seconds = self._sum_seconds(plan, bucket, group, sum(backward) if not spent else 0.0)
                finished = max(finished, 0.0 if layer is None else done[layer]) + seconds
                spent += seconds
        after = min(spent, max(0.0, finished - sum(backward)))
        share = self.machine.exposed_share(plan)
        packing = self.packing_seconds(plan, stage)
        hidden = (  # what leaves after backward takes nothing from it
            bucket
            for bucket, layer in zip(stage.over_data, stage.leaves_after, strict=True)
            if not bucket.each_microbatch and (layer is None or done[layer] < sum(backward))
        )
        lost = self._overheads(plan, hidden) * crowd
        return after + packing.end, share * (spent - after) + packing.start + lost

    def _overheads(self, plan: Plan, sums: Iterable[Reduction]) -> float:
        """What computing loses by the messages of such sums, for who slows all work down where ranks share cores."""
        group = self.machine.spread(plan, "data")
        if not group.crosses or plan.served:  # what servers are told, their own exchanges' seconds contain
            return 0.0
        hosts = self.machine.communication.levels(group)
        messages = (one for bucket in sums for one in bucket.messages(self._reduced, hosts))
        return sum(self.machine.overhead(COLLECTIVES[one.kind], group) for one in messages)

    def averages(self, plan: Plan, stage: Stage, work: float) -> float:
        """Seconds a step of meetings in every `local_steps`; a step keeps the stage at `work` so long. What arrives
        late is exposed as far as `DELAY` steps are too short for it, and where moving it takes the cores from them; but
        a form of two messages sends its second one while all wait."""
        at_once = plan.data * plan.tensor
        copy = self.machine.compute.move_seconds(Move("copy", stage.elements, stage.elements, "forward"))
        seconds = self.packing_seconds(plan, stage).total + _AVERAGING * copy * self.machine.crowd(at_once)
        seconds += self.sum_seconds(plan, stage)
        if arrives_late(plan, in_background=self.machine.in_background(plan)):
            step = work * self.machine.crowd(at_once)
            first = [_first_message(one) for one in stage.over_data]
            hidden = min(DELAY * step, self._sums_seconds(plan, first))
            share = self.machine.exposed_share(plan)
            seconds += self._overheads(plan, first) * self.machine.crowd(at_once) - (1 - share) * hidden
        return seconds / plan.local_steps

    def _sum_seconds(self, plan: Plan, bucket: Reduction, group: Spread, pause: float = 0.0) -> float:
        """`pause` seconds after the one before it. A reduce-scatter where gradients lie is the first half of an
        all-reduce there, an all-gather the second. What is compressed lies elsewhere."""
        at_once = plan.data * plan.tensor
        if bucket.packing is not None and bucket.packing.compressed:
            return self._compressed_seconds(bucket, group, at_once)
        if plan.served:
            return self._passed(plan, bucket.messages(self._reduced), exchanged=True)
        size = bucket.elements * self._reduced
        if group.crosses:
            return self.machine.message(bucket.kind, group, size, at_once, pause)
        half = 1.0 if bucket.kind == "all_reduce" else 0.5
        return half * self.machine.message("all_reduce_in_place", group, size, at_once)

    def _compressed_seconds(self, bucket: Reduction, group: Spread, at_once: int) -> float:
        """Where hosts sum first, one thing after another; powersgd's sums the wire takes in two levels as any other."""
        hosts = self.machine.communication.levels(group)
        messages = bucket.messages(self._reduced, hosts)
        if hosts and all(one.kind != "all_reduce" for one in messages):
            crossing: list[tuple[LinkKind, int]] = [(COLLECTIVES[one.kind], one.bytes) for one in messages]
            return self.machine.communication.packed_seconds(group, bucket.elements * self._reduced, crossing)
        return sum(self._message(one, group, at_once) for one in messages)

    def _message(self, message: Traveling, group: Spread, at_once: int) -> float:
        if message.kind == "all_to_all" and group.crosses:  # between hosts nothing is slowed down by who shares cores
            return self.machine.communication.all_to_all_seconds(group, message.bytes)
        return self.machine.message(COLLECTIVES[message.kind], group, message.bytes, at_once)

    def gathers(self, plan: Plan, sent: Mapping[WeightMessage, int], when: When) -> float:
        """Seconds of those of a place's all-gathers of weights that forward, backward or the end of one step waits
        for."""
        at_once = plan.data * plan.tensor
        group = self.machine.spread(plan, "data")
        kind, part = ("all_gather", 1.0) if group.crosses else ("all_reduce_in_place", 0.5)
        read = group.crosses or plan.sharding_level < 3  # else who puts a unit together reads it where it lies
        return sum(
            times * part * self.machine.message(kind, group, one.bytes if read else 1, at_once)
            for one, times in sent.items()
            if one.when == when
        )

    def renewing(self, plan: Plan, sent: Mapping[WeightMessage, int], forward: float) -> float:
        """Seconds by which new weights, on their way to all who have not updated them, make the next step longer: they
        leave in the order in which its first `forward` needs them, and the first of them nothing can hide."""
        messages = sum(times for one, times in sent.items() if one.when == "update")
        if not messages:
            return 0.0
        spent, group = self.gathers(plan, sent, "update"), self.machine.spread(plan, "data")
        crowd = self.machine.crowd(plan.data * plan.tensor)
        late = float(in_pieces(spent, forward * crowd, messages))
        hidden = (spent - late) / spent
        lost = hidden * messages * self.machine.overhead("all_gather", group) * crowd
        return late + self.machine.exposed_share(plan) * (spent - late) + lost

    def fetching(self, plan: Plan, fetched: Mapping[Fetch, int], when: When) -> float:
        """Seconds that one microbatch's forward or backward computes longer, as a place's weights are put together for
        it."""
        rounds = rounds_of(plan, self.training.global_batch)
        compute, at_work = self.machine.compute, self.machine.at_work(plan)
        found = 0.0
        for one, times in fetched.items():
            if one.when == when:
                views = Views(_UNIT_VIEWS + _FETCHED_VIEWS * one.weights, "forward")
                whole = Move("copy", one.elements, one.elements, "forward")
                found += times * compute.work([views, whole]).crowded(compute, at_work)
        return found / rounds

    def _passed(self, plan: Plan, messages: Sequence[Traveling], *, exchanged: bool) -> float:
        """Sends and receives of one rank with servers: what travels, and is packed or added up, one after the other."""
        at_once, group = plan.data * plan.tensor, self.machine.spread(plan, "data")
        pair = Spread(hosts=(1, 1), groups=group.groups) if group.crosses else inside(2)
        elements = sum(one.bytes for one in messages) // self._reduced
        copies = self.machine.compute.move_seconds(Move("copy", elements, elements, "forward"))
        passing = transfer_seconds(
            messages, lambda kind, size: self.machine.message(kind, pair, size, at_once), exchanged=exchanged
        )
        return copies * self.machine.crowd(at_once) + passing

    def meanwhile(self, plan: Plan, stage: Stage, sent: Mapping[WeightMessage, int], when: When, work: float) -> float:
        """Seconds that one microbatch's forward or backward takes longer for what travels under ZeRO meanwhile, weights
        that are `sent` among it: its exposed share, and all that its `work` is too short to hide."""
        if plan.sharding_level < 2:
            return 0.0
        at_once = plan.data * plan.tensor
        rounds, group = rounds_of(plan, self.training.global_batch), self.machine.spread(plan, "data")
        spent = self.gathers(plan, sent, when) / rounds
        gathered = sum(times for one, times in sent.items() if one.when == when) / rounds
        lost = gathered * self.machine.overhead("all_gather", group)
        if when == "backward":
            each = [one for one in stage.over_data if one.each_microbatch]
            spent += self._sums_seconds(plan, each)
            lost += self._overheads(plan, each)
        spent /= self.machine.crowd(at_once)  # the simulation slows all of a stage's work down
        share = self.machine.exposed_share(plan)
        behind = min(1.0, work / spent) if spent else 1.0  # who waits for a message loses nothing to it besides
        return max(share * spent, spent - work) + behind * lost

    def served(self, plan: Plan, place: int, stage: Stage) -> float:
        """Seconds of what travels under a parameter server beside sums of gradients."""
        if not plan.served:
            return 0.0
        messages = tuple(served_messages(stage, self.training, plan, busiest(plan), place))
        return self._passed(plan, messages, exchanged=not plan.asynchronous)

    def later(self, plan: Plan, stages: Sequence[Stage], axis: str, pause: float = 0.0) -> float:
        """Sums over `axis` after those over the data axis, on the stage that has most of them, and the norm's; before
        each of the sums nothing has gone along the axis for `pause` seconds."""
        slowest = 0.0
        for stage in dict.fromkeys(stages):
            sums = [one for one in stage.later if one.axis == axis]
            groups = [self.machine.spread(plan, axis, one.members) for one in sums]
            found = [
                self.machine.message("all_reduce", group, one.elements * self._reduced, plan.ranks, pause)
                for one, group in zip(sums, groups, strict=True)
            ]
            slowest = max(slowest, sum(found))
        again = 1 / plan.local_steps if plan.averages else 0.0
        return (1 + again) * slowest + self.norm(plan, axis)

    def norm(self, plan: Plan, axis: str) -> float:
        """Seconds in which the squares of the norm are summed over an axis."""
        if self.training.clip_norm <= 0 or axis not in norm_axes(plan):
            return 0.0
        return self.machine.message("all_reduce", self.machine.spread(plan, axis), NUMBER_BYTES, plan.ranks)


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
