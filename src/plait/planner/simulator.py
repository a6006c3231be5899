"""How long a step takes under a plan: the very schedule that the executor performs, priced and played.

    schedule ──price──> timeline ──> each stage's end ──> sums ──> norm, optimizer
                        F B F B          + data             one after another, all ranks together

The terms are those of the *bottleneck*, the rank of the pipeline with the most work; what it does not work until all
have summed over data is the bubble, transfers included: a stage that waits can't tell a slow neighbour from a slow
link. Of unequal data ranks the one with the most rows for its speed is played (`rounds`): the others wait for it. Every
number comes from `prices`; nothing is fitted to a training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TypeVar

from plait.estimates.estimate import beyond
from plait.planner.by_rank import ByRank, by_rank
from plait.planner.communication_volume import traffic_of_step
from plait.planner.flops import flops_of_step
from plait.planner.machine import Machine
from plait.planner.memory import Memory, memory_at
from plait.planner.playing import ended, timeline
from plait.planner.prices import JobPrices
from plait.planner.soonest import MIRRORED, soonest
from plait.planner.step_cost import StepCost
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction, Terms
from plait.schedules.moving import moving_seconds
from plait.schedules.timeline import Timeline
from plait.sharding.mesh_shape import AXES

__all__ = [
    "Played",
    "Step",
    "bounded",
    "fullness",
    "in_fullest_host",
    "least",
    "memories",
    "needed",
    "performed",
    "play",
    "played",
    "predict",
    "risk",
    "state",
    "without_waiting",
]


# Where ranks share cores, and where hosts tell each other things, four of five measured steps lay within such a part of
# the predicted one, more than the errors of operations and links explain (docs/benchmarks.md)
_CROWDED, _ACROSS = 0.35, 0.2

_Found = TypeVar("_Found")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step as it would run: the whole's seconds, and which rank of the pipeline is the `bottleneck`. For who wants
    to see more, `told` says where the seconds of each rank go, and `shown` plays the schedule once more; None where it
    was not played: no step under this plan is shorter than that."""

    seconds: float
    bottleneck: int
    told: Callable[[], tuple[Terms, ...]] = field(repr=False, compare=False)
    shown: Callable[[], Timeline] | None = field(repr=False, compare=False)

    @property
    def played(self) -> bool:
        """Whether its schedule was."""
        return self.shown is not None

    @cached_property
    def stages(self) -> tuple[Terms, ...]:
        """Where the seconds go on every rank of the pipeline, with all of its stages."""
        return self.told()

    @property
    def terms(self) -> Terms:
        """Those of the bottleneck."""
        return self.stages[self.bottleneck]

    @cached_property
    def timeline(self) -> Timeline:
        """The pipeline's, a line a rank of it; empty of a step that was not played."""
        return self.shown() if self.shown is not None else Timeline(ranks=())


@dataclass(frozen=True, kw_only=True)
class Played:
    """A plan with what its parts cost, how its step runs as far as that is known, and what each rank holds."""

    plan: Plan
    cost: StepCost
    step: Step
    memory: ByRank[Memory]

    @cached_property
    def fullest(self) -> int:
        """Bytes of the rank that holds most."""
        return self.memory.most(lambda one: one.total)


def bounded(plan: Plan, prices: JobPrices) -> Played:
    """Price a plan, and bound its step from below."""
    cost = prices.step(plan)
    return Played(plan=plan, cost=cost, step=least(plan, cost, prices), memory=memories(plan, prices))


def played(plan: Plan, prices: JobPrices) -> Played:
    """Price a plan and play its step."""
    return performed(bounded(plan, prices), prices)


def performed(one: Played, prices: JobPrices) -> Played:
    """The same plan, its step played."""
    return one if one.step.played else replace(one, step=play(one.plan, one.cost, prices))


def play(plan: Plan, cost: StepCost, prices: JobPrices) -> Step:
    """Play a step whose parts cost `cost`."""
    busy, ends = ended(plan, cost, prices.machine)
    return _step(cost, busy, ends, partial(timeline, plan, cost, prices.machine))


def least(plan: Plan, cost: StepCost, prices: JobPrices) -> Step:
    """The shortest step that any order of these actions could have, without playing one (`soonest`)."""
    cores = prices.machine.shared_cores(plan)
    work = [cost.working(place) for place in range(plan.pipeline)]
    busy = [seconds * cores.crowd for seconds in work]
    ends = soonest(cost, busy, cores.crowd, cores.full(work), mirrored=plan.schedule in MIRRORED)
    return _step(cost, busy, ends)


def without_waiting(plan: Plan, cost: StepCost, prices: JobPrices) -> Step:
    """The step if no rank of the pipeline waited for another one: each works through what it has, on cores that all
    ranks keep full."""
    cores = prices.machine.shared_cores(plan)
    work = [cost.working(place) for place in range(plan.pipeline)]
    busy = [seconds * cores.crowd for seconds in work]
    return _step(cost, busy, [max(seconds, cores.full(work)) for seconds in busy])


def _step(
    cost: StepCost, busy: Sequence[float], last: Sequence[float], shown: Callable[[], Timeline] | None = None
) -> Step:
    """The step in which each rank of the pipeline computes for `busy` seconds until its `last`."""
    end = max(last + rank.slowed + rank.data for last, rank in zip(last, cost.ranks, strict=True))
    place = max(range(len(busy)), key=lambda place: busy[place])
    seconds = end + cost.tensor_sums + cost.pipeline_sums + cost.optimizer + cost.renewal
    return Step(seconds=seconds, bottleneck=place, told=partial(_told, cost, busy, end), shown=shown)


def _told(cost: StepCost, busy: Sequence[float], end: float) -> tuple[Terms, ...]:
    return tuple(_terms(cost, place, seconds, end) for place, seconds in enumerate(busy))


def _terms(cost: StepCost, place: int, busy: float, end: float) -> Terms:
    """Of a rank that is `busy` for so long until all have summed over data, at `end`."""
    stage, work = cost.ranks[place], cost.working(place)
    share = sum(one.part * times for one, times in cost.kinds.items()) * busy / work if work else 0.0
    tensor = share * (stage.forward.tensor + stage.backward.tensor)
    data = share * (stage.forward.data + stage.backward.data)
    return Terms(
        compute=busy - tensor - data + stage.slowed,
        bubble=max(0.0, round(end - busy - stage.slowed - stage.data, 9)),  # below a nanosecond it is rounding
        optimizer=cost.optimizer,
        exposed={
            "data": data + stage.data + cost.renewal,
            "tensor": tensor + cost.tensor_sums,
            "pipeline": cost.pipeline_sums,
        },
    )


def needed(memory: ByRank[Memory], prices: JobPrices) -> int:
    """The bytes that a plan needs, of the device of its fullest rank, or of the host whose ranks together hold most:
    with what an allocator can't use, and what each rank takes before it holds a tensor."""
    machine = prices.machine

    def taken(one: Memory) -> int:
        return machine.taken(one.total)

    return _of_fullest_host(memory, machine, taken) if machine.shares_memory else memory.most(taken)


def in_fullest_host(memory: ByRank[Memory], prices: JobPrices) -> int:
    """The bytes that a plan keeps in the memory of a host whose devices have their own, of the one with most; 0 without
    offload."""
    machine = prices.machine
    return 0 if machine.shares_memory else _of_fullest_host(memory, machine, lambda one: one.host)


def _of_fullest_host(memory: ByRank[Memory], machine: Machine, taken: Callable[[Memory], int]) -> int:
    """What the ranks of a host take together, of the one where that is most."""
    if machine.nodes == 1:
        return memory.total(taken)
    return max(map(sum, machine.hosts([taken(one) for one in memory])))


def fullness(memory: ByRank[Memory], prices: JobPrices) -> float:
    """The part of a memory that a plan needs, of the device's or the host's, whichever is fuller: above 1 it does not
    fit. Unknown memory is enough."""
    machine = prices.machine
    needs = (needed(memory, prices), machine.memory_bytes), (in_fullest_host(memory, prices), machine.host_memory_bytes)
    return max(need / there if there else 0.0 for need, there in needs)


def risk(memory: ByRank[Memory], prices: JobPrices) -> float:
    """The probability that memory runs out: a rank's, by the spread of predictions for devices that were not measured
    (`estimates`), or that of a host, of which the bytes are exact. Unknown memory is enough."""
    there, in_host = prices.machine.memory_bytes, prices.machine.host_memory_bytes
    if in_host is not None and in_fullest_host(memory, prices) > in_host:
        return 1.0
    return 0.0 if there is None else float(beyond(needed(memory, prices), float(there)))


def predict(plan: Plan, prices: JobPrices) -> Prediction:
    """All that is said of a plan before it runs."""
    return state(played(plan, prices), prices)


def state(one: Played, prices: JobPrices) -> Prediction:
    """The same, of a plan that was priced already.

    The interval allows compute, bubble and optimizer the error of the measured operations, and what is exposed that of
    the measured links (`ComputeCost.error`, `CommunicationCost.error`); more where less is understood, and where others
    were at work when they were measured.
    """
    plan, step, memory = one.plan, one.step, one.memory
    flops = _of_ranks(lambda rank: flops_of_step(prices.model, prices.training, plan, rank).total, plan, prices)
    hosts = prices.machine.levels(plan)
    traffic = _of_ranks(lambda rank: traffic_of_step(prices.model, prices.training, plan, rank, hosts), plan, prices)
    return Prediction(
        step_seconds=step.seconds,
        interval=_interval(plan, step, prices.machine),
        terms=step.terms,
        memory_bytes=tuple(one.total for one in memory),
        weight_bytes=tuple(one.weights for one in memory),
        gradient_bytes=tuple(one.gradients for one in memory),
        optimizer_bytes=tuple(one.optimizer + one.host for one in memory),
        activation_bytes=tuple(one.activations for one in memory),
        flops=flops,
        collectives=traffic,
        stages=step.stages,
        transfers=moving_seconds(step.timeline.ranks) if plan.pipeline > 1 else (),
    )


def _interval(plan: Plan, step: Step, machine: Machine) -> tuple[float, float]:
    """What four of five steps lie within. A profile that others disturbed holds beside them or without them, nobody
    knows which: ranks that fill the cores take 1 + `busy_share` times as long beside so many others, since a fair
    scheduler gives all the same (Linux's CFS: Documentation/scheduler/sched-design-CFS.rst)."""
    exposed = sum(step.terms.exposed.values())
    told = machine.compute.error * (step.seconds - exposed) + machine.communication.error * exposed
    crosses = any(machine.spread(plan, axis).crosses for axis in AXES)
    least = _ACROSS if crosses else _CROWDED if machine.crowd(plan.ranks) > 1 else 0.0
    doubt, longer = max(told, least * step.seconds), 1 + machine.busy_share
    low = min(step.seconds - doubt, step.seconds / longer)
    return max(0.0, low), max(step.seconds + doubt, step.seconds * longer)


def memories(plan: Plan, prices: JobPrices) -> ByRank[Memory]:
    """What each rank holds."""
    at = memory_at(prices.model, prices.training, plan, in_background=prices.machine.in_background(plan))

    def apart(place: int, data: int, tensor: int) -> Memory:
        return replace(at(place, data, tensor), apart=True)

    return by_rank(at if prices.machine.shares_memory else apart, plan, prices.model, prices.training)


def _of_ranks(find: Callable[[int], _Found], plan: Plan, prices: JobPrices) -> tuple[_Found, ...]:
    def found(place: int, data: int, tensor: int) -> _Found:
        return find(plan.mesh.rank_at(pipeline=place, data=data, tensor=tensor))

    return tuple(by_rank(found, plan, prices.model, prices.training))
