"""How machines of the catalogue might differ, for `what_if`: links between hosts, links inside, and memory, each
doubled and halved.

The plan that is best now is among those that are priced then, as likely to run out of memory as the search that found
it let a plan be, so that better machines are never told to be slower. Of unequal machines all groups differ, and the
best is looked for among the plans that were found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from plait.clusters.played import played
from plait.clusters.search import Found, found_on
from plait.clusters.unequal import played_on_groups
from plait.estimates.task import Task
from plait.planner.what_if import WhatIf, what_if
from plait.plans.plan import Plan
from plait.specs.hardware import HostLink
from plait.specs.job import Job
from plait.specs.machines import Machines

__all__ = ["changes"]

_How = Literal["twice", "half"]
_FACTORS: dict[_How, float] = {"twice": 2.0, "half": 0.5}
_PLACES, _SHAPES = 64, 4  # of a search for one number


def changes(job: Job, tasks: Sequence[Task], found: Found, how: _How) -> tuple[WhatIf, ...]:
    """What becomes of the best plan that was found with each change that means anything for these machines: twice as
    good, or half."""

    def best_on(changed: Sequence[Task]) -> tuple[Plan, float] | None:
        if len(changed) == 1:
            searched = found_on(job, changed[0], places=_PLACES, shapes=_SHAPES)
            again, others = [played(found.plans[0].plan, changed[0])], searched.plans
            limit = max(found.limit, searched.limit)
        else:
            again, others, limit = [played_on_groups(one.plan, changed) for one in found.plans], (), found.limit
        plans = [*(one for one in again if one.risk <= limit), *others]
        best = min(plans, key=lambda one: one.seconds, default=None)
        return None if best is None else (best.plan, best.seconds)

    changed = {
        what: [replace(task, machines=change(task.machines)) for task in tasks] for what, change in _each(tasks, how)
    }
    return what_if(found.plans[0].plan, changed, best_on)


def _each(tasks: Sequence[Task], how: _How) -> Iterator[tuple[str, Callable[[Machines], Machines]]]:
    machines, factor = [task.machines for task in tasks], _FACTORS[how]
    if len(machines) > 1 or machines[0].nodes > 1:
        yield f"links between hosts {how} as fast", lambda one: replace(one, between=_with_peak(one.between, factor))
    if any(one.devices_per_node > 1 for one in machines):
        yield f"links inside a host {how} as fast", lambda one: replace(one, inside=_with_peak(one.inside, factor))
    yield f"{how} the memory", lambda one: _with_memory(one, factor)


def _with_peak(link: HostLink, factor: float) -> HostLink:
    return replace(link, peak=link.peak * factor)


def _with_memory(one: Machines, factor: float) -> Machines:
    return replace(one, device=replace(one.device, memory_bytes=int(one.device.memory_bytes * factor)))
