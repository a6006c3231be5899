"""What a schedule means to the planner: who holds how many microbatches of which stage, what crosses what.

    1F1B, stage 1 of 3      SEND_F1 + RECV_B0      an exchange: both directions of one link at once

A search asks for the same few schedules again and again, so they are kept. It knows the list of actions, no seconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from plait.plans.plan import Plan
from plait.schedules.action import SENDS, Action, Kind
from plait.schedules.registry import build_schedule
from plait.schedules.schedule import Schedule
from plait.schedules.validate import held_at_once

__all__ = ["Timetable", "timetable", "timetable_of"]


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


def _exchanged(schedule: Schedule) -> frozenset[Action]:
    """Both ends must offer both directions in one step: else one is over before the other begins."""
    step_of = {action: step for program in schedule.programs for step in program for action in step}
    found: set[Action] = set()
    for send in (action for action in step_of if action.kind in SENDS):
        back = [one.counterpart for one in step_of[send] if one.kind not in SENDS and one.peer == send.peer]
        found.update(send for other in back if send.counterpart in step_of[other])
    return frozenset(found)
