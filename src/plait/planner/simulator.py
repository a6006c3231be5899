"""How long a step takes under a plan: the very schedule that the executor performs, priced and played.

    schedule ──price──> timeline ──> each stage's end ──> sums ──> norm, optimizer
                        F B F B          + data             one after another, all ranks together

The terms are those of the *bottleneck*, the rank of the pipeline with the most work; what it does not work until all
have summed over data is the bubble, transfers included: a stage that waits can't tell a slow neighbour from a slow
link. Of unequal data ranks the one with the most rows for its speed is played (`rounds`): the others wait for it. Every
number comes from `prices`; nothing is fitted to a training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from plait.planner.communication_volume import traffic_of_step
from plait.planner.flops import flops_of_step
from plait.planner.memory import Memory, memory_of
from plait.planner.prices import JobPrices
from plait.planner.step_cost import StepCost
from plait.planner.timetable import timetable_of
from plait.plans.plan import Plan
from plait.plans.prediction import Prediction, Terms
from plait.plans.rows import row_counts
from plait.schedules.action import COMPUTE, Action, Kind
from plait.schedules.timeline import Timeline, simulate

__all__ = ["Played", "Step", "fits", "play", "played", "predict", "state"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step as it would run: the pipeline's timeline (a line a rank of it), the whole's seconds and where they
    go."""

    timeline: Timeline
    seconds: float
    terms: Terms


@dataclass(frozen=True, kw_only=True)
class Played:
    """A plan with what its parts cost, how its step runs, and what each rank holds."""

    plan: Plan
    cost: StepCost
    step: Step
    memory: tuple[Memory, ...]


def played(plan: Plan, prices: JobPrices) -> Played:
    """Price a plan and play its step."""
    cost = prices.step(plan)
    return Played(plan=plan, cost=cost, step=play(plan, cost, prices), memory=_memories(plan, prices))


def play(plan: Plan, cost: StepCost, prices: JobPrices) -> Step:
    """Play a step whose parts cost `cost`."""
    timeline = _timeline(plan, cost, prices)
    busy, ranks = [_computing(timeline, place) for place in range(plan.pipeline)], cost.ranks
    ends = [timed[-1].end + rank.slowed + rank.data for timed, rank in zip(timeline.ranks, ranks, strict=True)]
    end = max(ends)
    place = max(range(plan.pipeline), key=lambda place: busy[place])
    stage = ranks[place]
    work = cost.working(stage)
    share = sum(one.part for one in cost.rounds) * busy[place] / work if work else 0.0
    tensor = share * (stage.forward.tensor + stage.backward.tensor)
    data = share * (stage.forward.data + stage.backward.data)
    terms = Terms(
        compute=busy[place] - tensor - data + stage.slowed,
        bubble=max(0.0, round(end - busy[place] - stage.slowed - stage.data, 9)),  # below a nanosecond it is rounding
        optimizer=cost.optimizer,
        exposed={
            "data": data + stage.data + cost.renewal,
            "tensor": tensor + cost.tensor_sums,
            "pipeline": cost.pipeline_sums,
        },
    )
    seconds = end + cost.tensor_sums + cost.pipeline_sums + cost.optimizer + cost.renewal
    return Step(timeline=timeline, seconds=seconds, terms=terms)


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
    """The same, of a plan that was played already.

    The interval allows compute, bubble and optimizer the error of the measured operations, and what is exposed that of
    the measured links (`ComputeCost.error`, `CommunicationCost.error`).
    """
    plan, step, memory = one.plan, one.step, one.memory
    exposed = sum(step.terms.exposed.values())
    doubt = prices.machine.compute.error() * (step.seconds - exposed) + prices.machine.communication.error() * exposed
    twins = _twins(plan, prices.training.global_batch)
    flops = {rank: flops_of_step(prices.model, prices.training, plan, rank).total for rank in set(twins)}
    traffic = {rank: traffic_of_step(prices.model, prices.training, plan, rank) for rank in set(twins)}
    return Prediction(
        step_seconds=step.seconds,
        interval=(max(0.0, step.seconds - doubt), step.seconds + doubt),
        terms=step.terms,
        memory_bytes=tuple(one.total for one in memory),
        weight_bytes=tuple(one.weights for one in memory),
        gradient_bytes=tuple(one.gradients for one in memory),
        optimizer_bytes=tuple(one.optimizer + one.host for one in memory),
        activation_bytes=tuple(one.activations for one in memory),
        flops=tuple(flops[rank] for rank in twins),
        collectives=tuple(traffic[rank] for rank in twins),
    )


def _memories(plan: Plan, prices: JobPrices) -> tuple[Memory, ...]:
    twins = _twins(plan, prices.training.global_batch)
    background = prices.machine.in_background(plan)
    found = {
        rank: memory_of(prices.model, prices.training, plan, rank, in_background=background) for rank in set(twins)
    }
    return tuple(replace(found[rank], apart=not prices.machine.shares_memory) for rank in twins)


def _twins(plan: Plan, global_batch: int) -> Sequence[int]:
    """For each rank the first along the data axis that has as many rows: it holds and does the same, but under ZeRO."""
    if plan.sharding_level:
        return range(plan.ranks)
    counts = row_counts(plan, global_batch)
    first = [counts.index(count) for count in counts]
    mesh = plan.mesh
    return [mesh.group(rank, "data")[first[mesh.coordinate(rank, "data")]] for rank in range(plan.ranks)]


def _timeline(plan: Plan, cost: StepCost, prices: JobPrices) -> Timeline:
    known = timetable_of(plan, len(cost.rounds))

    seconds = _seconds(cost)

    def compute_seconds(action: Action) -> float:
        return seconds[action.stage, action.kind, action.microbatch]

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
            known = {one: one.seconds(phase) for one in set(cost.rounds)}
            found.update(((number, kind, k), known[one]) for k, one in enumerate(cost.rounds))
    return found


def _computing(timeline: Timeline, place: int) -> float:
    return sum(end - start for action, start, end in timeline.ranks[place] if action.kind in COMPUTE)
