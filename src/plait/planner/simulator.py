"""How long a step takes under a plan: the very schedule that the executor performs, priced and played.

    schedule ──price──> timeline ──> each stage's end ──> sums ──> norm, optimizer
                        F B F B          + data             one after another, all ranks together

The terms are those of the *bottleneck*, the rank of the pipeline with the most work; what it does not work until all
have summed over data is the bubble, transfers included: a stage that waits can't tell a slow neighbour from a slow
link. Of unequal data ranks the one with the most rows for its speed is played (`rounds`): the others wait for it. Every
number comes from `prices`; nothing is fitted to a training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import TypeVar

from plait.planner.alike import tensor_ranks_alike, workers_alike
from plait.planner.communication_volume import traffic_of_step
from plait.planner.flops import flops_of_step
from plait.planner.memory import Memory, memory_of
from plait.planner.prices import JobPrices
from plait.planner.soonest import MIRRORED, soonest
from plait.planner.stage import stage_of
from plait.planner.step_cost import StepCost
from plait.planner.timetable import timetable_of
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction, Terms
from plait.schedules.action import COMPUTE, Action, Kind
from plait.schedules.moving import moving_seconds
from plait.schedules.timeline import Timeline, simulate

__all__ = ["Played", "Step", "bounded", "fits", "least", "memories", "performed", "play", "played", "predict", "state"]


_Found = TypeVar("_Found")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step as it would run: the pipeline's timeline (a line a rank of it), the whole's seconds and where they go:
    on the bottleneck, and on every rank of the pipeline, with all of its stages. `played`: whether the schedule was;
    else the timeline is empty, and no step under this plan is shorter than that."""

    timeline: Timeline
    seconds: float
    terms: Terms
    stages: tuple[Terms, ...]
    played: bool = True


@dataclass(frozen=True, kw_only=True)
class Played:
    """A plan with what its parts cost, how its step runs as far as that is known, and what each rank holds."""

    plan: Plan
    cost: StepCost
    step: Step
    memory: tuple[Memory, ...]

    @cached_property
    def fullest(self) -> int:
        """Bytes of the rank that holds most."""
        return max(rank.total for rank in self.memory)


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
    timeline = _timeline(plan, cost, prices)
    busy = [_computing(timeline, place) for place in range(plan.pipeline)]
    ends = [timed[-1].end for timed in timeline.ranks]
    return _step(cost, timeline, busy, ends, played=True)


def least(plan: Plan, cost: StepCost, prices: JobPrices) -> Step:
    """The shortest step that any order of these actions could have, without playing one (`soonest`)."""
    crowd = prices.machine.crowd(plan.data * plan.tensor)
    busy = [cost.working(place) * crowd for place in range(plan.pipeline)]
    cores = prices.machine.cores
    all_full = 0.0 if cores is None else sum(busy) / crowd * plan.data * plan.tensor / cores
    ends = soonest(cost, busy, crowd, all_full, mirrored=plan.schedule in MIRRORED)
    return _step(cost, Timeline(ranks=()), busy, ends, played=False)


def _step(cost: StepCost, timeline: Timeline, busy: Sequence[float], last: Sequence[float], *, played: bool) -> Step:
    """The step in which each rank of the pipeline computes for `busy` seconds until its `last`."""
    end = max(last + rank.slowed + rank.data for last, rank in zip(last, cost.ranks, strict=True))
    place = max(range(len(busy)), key=lambda place: busy[place])
    stages = tuple(_terms(cost, place, busy[place], end) for place in range(len(busy)))
    seconds = end + cost.tensor_sums + cost.pipeline_sums + cost.optimizer + cost.renewal
    return Step(timeline=timeline, seconds=seconds, terms=stages[place], stages=stages, played=played)


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


def fits(memory: Sequence[Memory], prices: JobPrices) -> bool:
    """Whether every rank has room: on its device, or all together in the hosts' memory. Unknown memory is enough."""
    if prices.machine.memory_bytes is None:
        return True
    sizes = [one.total for one in memory]
    return (sum(sizes) if prices.machine.shares_memory else max(sizes)) <= prices.machine.memory_bytes


def predict(plan: Plan, prices: JobPrices) -> Prediction:
    """All that is said of a plan before it runs."""
    return state(played(plan, prices), prices)


def state(one: Played, prices: JobPrices) -> Prediction:
    """The same, of a plan that was priced already.

    The interval allows compute, bubble and optimizer the error of the measured operations, and what is exposed that of
    the measured links (`ComputeCost.error`, `CommunicationCost.error`).
    """
    plan, step, memory = one.plan, one.step, one.memory
    exposed = sum(step.terms.exposed.values())
    doubt = prices.machine.compute.error * (step.seconds - exposed) + prices.machine.communication.error * exposed
    flops = _by_rank(lambda rank: flops_of_step(prices.model, prices.training, plan, rank).total, plan, prices)
    hosts = prices.machine.levels(plan)
    traffic = _by_rank(lambda rank: traffic_of_step(prices.model, prices.training, plan, rank, hosts), plan, prices)
    return Prediction(
        step_seconds=step.seconds,
        interval=(max(0.0, step.seconds - doubt), step.seconds + doubt),
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


def memories(plan: Plan, prices: JobPrices) -> tuple[Memory, ...]:
    """What each rank holds."""
    background = prices.machine.in_background(plan)
    apart = not prices.machine.shares_memory

    def memory(rank: int) -> Memory:
        found = memory_of(prices.model, prices.training, plan, rank, in_background=background)
        return replace(found, apart=True) if apart else found

    return _by_rank(memory, plan, prices)


def _by_rank(find: Callable[[int], _Found], plan: Plan, prices: JobPrices) -> tuple[_Found, ...]:
    """What `find` says of every rank, asked of one of those that are alike (`alike`)."""
    tensors = tensor_ranks_alike(prices.model, prices.training, plan)
    workers = workers_alike(plan, prices.training.global_batch)
    known: dict[tuple[int, int, int, int], _Found] = {}
    found: list[_Found] = []
    for place in range(plan.pipeline):
        keepers = {tensor: _keepers(plan, place, tensor, prices) for tensor in set(tensors)}
        for data, tensor in product(range(plan.data), tensors):
            key = (place, workers[data], keepers[tensor][data], tensor)
            if key not in known:
                known[key] = find(plan.mesh.rank_at(pipeline=place, data=data, tensor=tensor))
            found.append(known[key])
    return tuple(found)


def _keepers(plan: Plan, place: int, tensor: int, prices: JobPrices) -> tuple[int, ...]:
    rank = plan.mesh.rank_at(pipeline=place, data=0, tensor=tensor)
    return stage_of(prices.model, prices.training, plan, rank).keepers


def _timeline(plan: Plan, cost: StepCost, prices: JobPrices) -> Timeline:
    known, computed = timetable_of(plan, len(cost.rounds)), _seconds(cost)

    def compute_seconds(action: Action) -> float:
        return computed[action.stage, action.kind, action.microbatch]

    def transfer_seconds(action: Action) -> float:
        return cost.exchange if action in known.exchanged else cost.send

    demand = plan.data * plan.tensor  # ranks that compute a stage, each on a core
    passes = prices.machine.receives_ahead(plan)
    return simulate(
        known.schedule,
        compute_seconds,
        transfer_seconds,
        cores=prices.machine.cores,
        demand=demand,
        ahead=lambda action: passes[min(action.stage, action.peer)],
        waits=False,
    )


def _seconds(cost: StepCost) -> dict[tuple[int, Kind, int], float]:
    """Of every computation there can be, by stage, kind and microbatch."""
    found: dict[tuple[int, Kind, int], float] = {}
    for number, stage in enumerate(cost.stages):
        phases = (
            (Kind.F, stage.forward),
            (Kind.B, stage.backward),
            (Kind.I, stage.inputs),
            (Kind.W, stage.weights_alone),
        )
        for kind, phase in phases:
            distinct = {id(one): one for one in cost.rounds}  # a step repeats the same few objects
            known = {key: one.seconds(phase, cost.places[number]) for key, one in distinct.items()}
            found.update(((number, kind, k), known[id(one)]) for k, one in enumerate(cost.rounds))
    return found


def _computing(timeline: Timeline, place: int) -> float:
    return sum(end - start for action, start, end in timeline.ranks[place] if action.kind in COMPUTE)
