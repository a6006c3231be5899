"""How the machine that was measured might differ, for `what_if`: its links and its memory, doubled and halved.

It knows measurements and jobs, no screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from plait.errors import NothingFits
from plait.planner.search import Plans, search
from plait.planner.what_if import WhatIf, what_if
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.links import Link, Transfer
from plait.specs.measurements import Measurements

__all__ = ["changes"]


def changes(job: Job, measurements: Measurements, plans: Plans) -> tuple[WhatIf, ...]:
    """What becomes of a search's best plan with each change that means anything for the job's ranks."""

    def best_on(machine: Measurements) -> tuple[Plan, float] | None:
        try:
            best = search(job, machine, sure=1).best
        except NothingFits:
            return None
        return best.plan, best.found.step.seconds

    now = plans.best.plan
    return what_if(now, dict(_changed(measurements, now.ranks)), best_on)


def _changed(known: Measurements, ranks: int) -> Iterator[tuple[str, Measurements]]:
    if ranks > 1:
        yield "links twice as fast", _with_links(known, 2.0)
        yield "links half as fast", _with_links(known, 0.5)
    if known.host is not None:
        size = known.host.memory_bytes
        yield "twice the memory", replace(known, host=replace(known.host, memory_bytes=size * 2))
        yield "half the memory", replace(known, host=replace(known.host, memory_bytes=size // 2))


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
