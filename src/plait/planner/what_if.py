"""What would change the answer: the same search on machines that differ in one thing, whoever prices them.

    links twice as fast         best: data 4          1.02 s → 0.91 s       another plan
    links half as fast          best: pipeline 4      1.02 s → 1.20 s       the same plan
    twice the memory            no change

Nothing is estimated from the plan that is best now: whatever is best then is found by searching. It knows plans and
their seconds; what a machine is, and how one is searched, `changes` of each planner says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from plait.plans.plan import Plan

__all__ = ["WhatIf", "what_if"]

Machine = TypeVar("Machine")


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """One change of the machines: the plan that would be best then and its step; None where none would fit.
    `changes`: whether that is another plan than now."""

    change: str
    plan: Plan | None
    step_seconds: float | None
    changes: bool


def what_if(
    now: Plan, changed: Mapping[str, Machine], best_on: Callable[[Machine], tuple[Plan, float] | None]
) -> tuple[WhatIf, ...]:
    """What becomes of the best plan, `now`, on each of the `changed` machines. `best_on`: the best plan of such a
    machine and its step's seconds, None where none fits."""
    return tuple(_told(change, now, best_on(machine)) for change, machine in changed.items())


def _told(change: str, now: Plan, best: tuple[Plan, float] | None) -> WhatIf:
    if best is None:
        return WhatIf(change=change, plan=None, step_seconds=None, changes=True)
    plan, seconds = best
    return WhatIf(change=change, plan=plan, step_seconds=seconds, changes=_choice(plan) != _choice(now))


def _choice(plan: Plan) -> Plan:
    """Without the size of its buckets, which follows any link."""
    return replace(plan, bucket_bytes=1)
