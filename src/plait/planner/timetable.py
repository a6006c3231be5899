"""What a schedule means to the planner: who holds how many microbatches, who sends how often, what crosses what.

    1F1B, stage 1 of 3      SEND_F1 + RECV_B0      an exchange: both directions of one link at once

A search asks for the same few schedules again and again, so they are kept. It knows the list of actions, no seconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from plait.schedules.action import SENDS, Action, Kind
from plait.schedules.registry import build_schedule
from plait.schedules.schedule import Schedule
from plait.schedules.validate import held_microbatches

__all__ = ["Timetable", "timetable"]


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """A schedule; for each stage the microbatches it holds at most, and how often each kind of action occurs;
    `exchanged`: the sends that cross another one on the same link."""

    schedule: Schedule
    held: tuple[int, ...]
    counts: tuple[Counter[Kind], ...]
    exchanged: frozenset[Action]


@lru_cache(maxsize=1024)
def timetable(kind: str, stages: int, microbatches: int) -> Timetable:
    """The schedule called `kind`; raises PlaitError for a name that isn't built."""
    schedule = build_schedule(kind, stages, microbatches)
    actions = [[action for step in program for action in step] for program in schedule.programs]
    return Timetable(
        schedule=schedule,
        held=held_microbatches(schedule),
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
