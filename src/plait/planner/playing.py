"""The schedule of a step, played: how long each rank of the pipeline computes, and when it is done.

    plan, cost ──> what its times depend on ──> busy, ends       remembered: plans that differ in nothing of this
                   (schedule, seconds, links)                    (ZeRO 0 and 1) are played once
                                            ──> timeline         for who wants to see it

It knows a schedule and the seconds of its actions, not what they are made of.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from plait.planner.cores import SharedCores
from plait.planner.machine import Machine
from plait.planner.step_cost import Phase, Round, StageCost, StepCost
from plait.planner.timetable import Part, Scored, scored
from plait.plans.plan import Plan
from plait.schedules.action import Kind
from plait.schedules.performance import Performance, perform
from plait.schedules.timeline import Timeline, timeline_of

__all__ = ["Ended", "ended", "timeline"]


class Ended(NamedTuple):
    """By rank of the pipeline: the seconds in which it computes, and those until its last action has ended."""

    busy: tuple[float, ...]
    ends: tuple[float, ...]


class _Asked(NamedTuple):
    """All that the times of a step's actions depend on. `computing`: of each part of the schedule that computes, its
    seconds in each kind of round; `rounds`: the kind of each microbatch; `cores`: who shares them with whom."""

    schedule: str
    ranks: int
    virtual_stages: int
    ahead: tuple[bool, ...]
    computing: tuple[tuple[float, ...], ...]
    rounds: tuple[int, ...]
    send: float
    exchange: float
    cores: SharedCores

    @property
    def scored(self) -> Scored:
        """The schedule as it is played."""
        return scored(self.schedule, self.ranks, len(self.rounds), self.virtual_stages, self.ahead)


def ended(plan: Plan, cost: StepCost, machine: Machine) -> Ended:
    """How the step of a plan ends whose parts cost `cost`."""
    return _ended(_asked(plan, cost, machine))


def timeline(plan: Plan, cost: StepCost, machine: Machine) -> Timeline:
    """When each of its actions happens."""
    asked = _asked(plan, cost, machine)
    return timeline_of(asked.scored.score, _performed(asked))


@lru_cache(maxsize=4096)
def _ended(asked: _Asked) -> Ended:
    computes, played = asked.scored.score.computes, _performed(asked)
    starts, ends, order = played.starts, played.ends, played.order
    return Ended(
        busy=tuple(sum(ends[n] - starts[n] for n in numbers if computes[n]) for numbers in order),
        ends=tuple(ends[numbers[-1]] for numbers in order),
    )


def _performed(asked: _Asked) -> Performance:
    known = asked.scored
    computing = iter(asked.computing)
    parts = (
        _computing(part, next(computing), asked) if part.computes else _moving(part, asked) for part in known.parts
    )
    cores = asked.cores
    return perform(known.score, list(chain.from_iterable(parts)), cores.each, cores.demand, cores.hosts)


def _computing(part: Part, seconds: tuple[float, ...], asked: _Asked) -> list[float]:
    if len(seconds) == 1:
        return list(seconds) * len(part.microbatches)
    return [seconds[asked.rounds[k]] for k in part.microbatches]


def _moving(part: Part, asked: _Asked) -> list[float]:
    return [asked.exchange if exchanged else asked.send for exchanged in part.exchanged]


def _asked(plan: Plan, cost: StepCost, machine: Machine) -> _Asked:
    kinds = {id(one): one for one in cost.rounds}  # a step repeats the same few objects
    place = {key: number for number, key in enumerate(kinds)}
    ahead = machine.receives_ahead(plan)
    known = scored(plan.schedule, plan.pipeline, len(cost.rounds), plan.virtual_stages, ahead)
    return _Asked(
        schedule=plan.schedule,
        ranks=plan.pipeline,
        virtual_stages=plan.virtual_stages,
        ahead=ahead,
        computing=tuple(_seconds(part, cost, tuple(kinds.values())) for part in known.parts if part.computes),
        rounds=tuple(place[id(one)] for one in cost.rounds),
        send=cost.send,
        exchange=cost.exchange,
        cores=machine.shared_cores(plan),
    )


def _seconds(part: Part, cost: StepCost, rounds: tuple[Round, ...]) -> tuple[float, ...]:
    phase, place = _phase(cost.stages[part.stage], part.kind), cost.places[part.stage]
    return tuple(one.seconds(phase, place) for one in rounds)


def _phase(stage: StageCost, kind: Kind) -> Phase:
    match kind:
        case Kind.F:
            return stage.forward
        case Kind.I:
            return stage.inputs
        case Kind.W:
            return stage.weights_alone
        case _:
            return stage.backward
