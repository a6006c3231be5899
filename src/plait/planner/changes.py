"""How the machine that was measured might differ, for `what_if`: its links and its memory, doubled and halved.

    links twice as fast     inside hosts and between them, whether these were measured, declared or assumed: twice the
                            bandwidth, half the latency; what a processor loses by a message stays
    twice the memory        of a device, or of every host

It knows measurements and jobs, no screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from plait.errors import NothingFits
from plait.planner.search import Plans, search
from plait.planner.what_if import WhatIf, what_if
from plait.plans.plan import Plan
from plait.specs.job import Job
from plait.specs.measurements import Measurements

__all__ = ["changes"]


class _Changed(NamedTuple):
    """A machine, and how many times as fast its `links` are as was measured or said."""

    known: Measurements
    links: float = 1.0


def changes(job: Job, measurements: Measurements, plans: Plans) -> tuple[WhatIf, ...]:
    """What becomes of a search's best plan with each change that means anything for the job's ranks."""

    def best_on(machine: _Changed) -> tuple[Plan, float] | None:
        try:
            best = search(job, machine.known, sure=1, links=machine.links).best
        except NothingFits:
            return None
        return best.plan, best.found.step.seconds

    now = plans.best.plan
    return what_if(now, dict(_changed(measurements, now.ranks)), best_on)


def _changed(known: Measurements, ranks: int) -> Iterator[tuple[str, _Changed]]:
    if ranks > 1:
        yield "links twice as fast", _Changed(known, links=2.0)
        yield "links half as fast", _Changed(known, links=0.5)
    if known.host is not None:
        size = known.host.memory_bytes
        yield "twice the memory", _Changed(replace(known, host=replace(known.host, memory_bytes=size * 2)))
        yield "half the memory", _Changed(replace(known, host=replace(known.host, memory_bytes=size // 2)))
