"""What a schedule means to the planner: who holds how many microbatches of which stage, what crosses what.

    1F1B, stage 1 of 3      SEND_F1 + RECV_B0      an exchange: both directions of one link at once

A search asks for the same few schedules again and again, so they are kept, as lists and as they are played (`scored`).
It knows actions, no seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby

from plait.plans.plan import Plan
from plait.schedules.action import COMPUTE, SENDS, Action, Kind
from plait.schedules.registry import build_schedule
from plait.schedules.schedule import Schedule
from plait.schedules.score import Score, score_of
from plait.schedules.validate import held_at_once

__all__ = ["Part", "Scored", "Timetable", "scored", "timetable", "timetable_of"]


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """A schedule; by rank, the microbatches that it holds at its worst moments: of each of its stages (`held_at_once`);
    and how often each kind of action occurs; `exchanged`: the sends that cross another one on the same link."""

    schedule: Schedule
    held: tuple[tuple[tuple[int, ...], ...], ...]
    counts: tuple[Counter[Kind], ...]
    exchanged: frozenset[Action]


def timetable_of(plan: Plan, microbatches: int) -> Timetable:
    """That of a plan's schedule, for so many microbatches."""
    return timetable(plan.schedule, plan.pipeline, microbatches, plan.virtual_stages)


@lru_cache(maxsize=1024)
def timetable(kind: str, ranks: int, microbatches: int, virtual_stages: int = 1) -> Timetable:
    """The schedule called `kind`, or drawn; raises as `build_schedule`."""
    schedule = build_schedule(kind, ranks, microbatches, virtual_stages)
    actions = [[action for step in program for action in step] for program in schedule.programs]
    return Timetable(
        schedule=schedule,
        held=tuple(held_at_once(schedule, rank) for rank in range(schedule.ranks)),
        counts=tuple(Counter(action.kind for action in program) for program in actions),
        exchanged=_exchanged(schedule),
    )


@dataclass(frozen=True, kw_only=True)
class Part:
    """The actions of one stage that are of one kind, by microbatch: whether they compute, and if they don't, which of
    them are `exchanged`."""

    stage: int
    kind: Kind
    microbatches: tuple[int, ...]
    exchanged: tuple[bool, ...]

    @cached_property
    def computes(self) -> bool:
        """Else they transfer something."""
        return self.kind in COMPUTE


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A schedule as it is played, and the `parts` that its actions are, by their numbers."""

    score: Score
    parts: tuple[Part, ...]


@lru_cache(maxsize=512)
def scored(kind: str, ranks: int, microbatches: int, virtual_stages: int, ahead: tuple[bool, ...]) -> Scored:
    """That of the schedule called `kind`, as the executor performs it. `ahead`: by stage, whether it and the next
    expect what passes between them before they need it."""
    known = timetable(kind, ranks, microbatches, virtual_stages)
    score = score_of(known.schedule, lambda action: ahead[min(action.stage, action.peer)], waits=False)
    alike = groupby(score.actions, key=lambda action: (action.stage, action.kind))
    return Scored(score=score, parts=tuple(_part(*key, tuple(some), known.exchanged) for key, some in alike))


def _part(stage: int, kind: Kind, actions: Sequence[Action], exchanged: frozenset[Action]) -> Part:
    return Part(
        stage=stage,
        kind=kind,
        microbatches=tuple(action.microbatch for action in actions),
        exchanged=tuple(action in exchanged for action in actions) if kind in SENDS else (False,) * len(actions),
    )


def _exchanged(schedule: Schedule) -> frozenset[Action]:
    """Both ends must offer both directions in one step: else one is over before the other begins."""
    fused = [step for program in schedule.programs for step in program if len(step) > 1]
    step_of = {action: step for step in fused for action in step}
    found: set[Action] = set()
    for send in (action for action in step_of if action.kind in SENDS):
        back = [one.counterpart for one in step_of[send] if one.kind not in SENDS and one.peer == send.peer]
        found.update(send for other in back if send.counterpart in step_of.get(other, ()))
    return frozenset(found)
