"""What would change the answer: the same search on a machine that differs in one thing.

    links twice as fast         best: data 4          1.02 s → 0.91 s       another plan
    links half as fast          best: pipeline 4      1.02 s → 1.20 s       the same plan
    twice the memory            no change

Nothing is estimated from the plan that is best now: whatever is best then is found by searching. It knows measurements
and jobs, no screen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from plait.errors import NothingFits
from plait.planner.search import Plans, search
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.links import Link, Transfer
from plait.specs.measurements import Measurements

__all__ = ["WhatIf", "what_if"]


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """One change of the machine: the plan that would be best then and its step; None where none would fit. `changes`:
    whether that is another plan than now."""

    change: str
    plan: Plan | None
    step_seconds: float | None
    changes: bool


def what_if(job: Job, measurements: Measurements, plans: Plans) -> tuple[WhatIf, ...]:
    """Each change that means anything for this job's ranks."""
    changes: dict[str, Callable[[Measurements], Measurements]] = {}
    if plans.best.plan.ranks > 1:
        changes["links twice as fast"] = lambda known: _with_links(known, 2.0)
        changes["links half as fast"] = lambda known: _with_links(known, 0.5)
    if measurements.host is not None:
        changes["twice the memory"] = lambda known: _with_memory(known, 2.0)
        changes["half the memory"] = lambda known: _with_memory(known, 0.5)
    return tuple(_tried(name, job, change(measurements), plans) for name, change in changes.items())


def _tried(name: str, job: Job, measurements: Measurements, plans: Plans) -> WhatIf:
    try:
        best = search(job, measurements, sure=1).best
    except NothingFits:
        return WhatIf(change=name, plan=None, step_seconds=None, changes=True)
    same = _choice(best.plan) == _choice(plans.best.plan)
    return WhatIf(change=name, plan=best.plan, step_seconds=best.found.step.seconds, changes=not same)


def _choice(plan: Plan) -> Plan:
    """Without the size of its buckets, which follows any link."""
    return replace(plan, bucket_bytes=1)


def _with_links(known: Measurements, factor: float) -> Measurements:
    return replace(known, collectives=tuple(_faster(link, factor) for link in known.collectives))


def _faster(link: Link, factor: float) -> Link:
    transfers = tuple(Transfer(bytes=one.bytes, seconds=one.seconds / factor) for one in link.transfers)
    return replace(
        link,
        alpha0=link.alpha0 / factor,
        alpha1=link.alpha1 / factor,
        bytes_per_second=link.bytes_per_second * factor,
        transfers=transfers,
    )


def _with_memory(known: Measurements, factor: float) -> Measurements:
    host = known.host
    return known if host is None else replace(known, host=replace(host, memory_bytes=int(host.memory_bytes * factor)))
