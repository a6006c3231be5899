"""The best plans of a space, without pricing all of it: cores in the order of what they can't be faster than.

    floors     0.9 0.9 1.0 1.1 1.1 │ 1.3 1.4 …      seconds of the busiest rank's own work
    priced     1.2 1.0 1.1 1.4 1.2 │                the last place that counts is 1.2: nobody behind can take it

A floor is no estimate: `times` is never below it, whatever the schedule and the ZeRO level, so that the places are
those of a search that prices everything (a drawn test). It knows columns, no single plan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.clusters.space import Space
from plait.estimates.arrangements import Arrangements, Column, Numbers
from plait.estimates.estimate import DARING, RISK, fullness, most_risk, running_out
from plait.estimates.memory import memory
from plait.estimates.offload import in_fullest_host
from plait.estimates.step import floors, times
from plait.estimates.task import Task

__all__ = ["Contest", "contest", "joined"]

_CHUNK = 8192  # rows: columns of that size stay in a processor's cache
_CORES = 512


@dataclass(frozen=True, kw_only=True)
class Contest:
    """`plans` with their closed-form `seconds`, fastest first. `unfit`: plans that were priced and don't fit;
    `unpriced`: legal plans that were not priced, as they can't be among the first. `daring`: none was safe, and these
    may run out of memory. `smallest`: the plan that needs the least memory, where nothing fits."""

    plans: Arrangements
    seconds: Column
    unfit: int
    unpriced: int
    daring: bool
    smallest: Arrangements | None

    @property
    def limit(self) -> float:
        """The probability of running out of memory beyond which a plan does not fit."""
        return most_risk(daring=self.daring)


class _Places:
    """The fastest rows so far."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.rows: list[Arrangements] = []
        self.seconds = np.empty(0)
        self.where: Numbers = np.empty((0, 2), dtype=np.int64)

    @property
    def last(self) -> float:
        """What a plan must take less than to have a place."""
        return float(self.seconds[-1]) if len(self.seconds) == self.most else np.inf

    def offer(self, plans: Arrangements, seconds: Column) -> None:
        place = np.full(len(plans), len(self.rows))
        where = np.concatenate([self.where, np.column_stack([place, np.arange(len(plans))])])
        every = np.concatenate([self.seconds, seconds])
        order = np.argsort(every, kind="stable")[: self.most]
        self.rows.append(plans)
        self.seconds, self.where = every[order], where[order]

    def taken(self) -> tuple[Arrangements, Column]:
        """The places, in order."""
        if not len(self.where):
            return self.rows[0], self.seconds
        picked = [self.rows[int(part)].rows(np.array([row])) for part, row in self.where.tolist()]
        return joined(picked), self.seconds


def joined(parts: list[Arrangements]) -> Arrangements:
    """One column after the other."""
    return Arrangements(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def contest(space: Space, task: Task, places: int) -> Contest:
    """The `places` fastest plans of the space that fit the task's devices."""
    cores = space.cores
    least = np.concatenate([floors(task, cores.rows(part)) for part in _parts(np.arange(len(cores)), _CHUNK)])
    safe, daring = _Places(places), _Places(places)
    unfit = seen = 0
    smallest: tuple[float, Arrangements | None] = (np.inf, None)
    for part in _parts(np.argsort(least, kind="stable"), _CORES):
        if least[part[0]] > safe.last:
            break
        plans = space.plans(cores.rows(part))
        seen += len(plans)
        held, in_host = memory(task, plans).total, in_fullest_host(task, plans)
        risk, full = running_out(task, held, in_host), fullness(task, held, in_host)
        if not len(safe.seconds) and full.min() < smallest[0]:
            smallest = float(full.min()), plans.rows(np.array([full.argmin()]))
        unfit += int((risk > DARING).sum())
        for pool, fits in ((safe, risk <= RISK), (daring, (risk > RISK) & (risk <= DARING))):
            chosen = plans.rows(np.flatnonzero(fits))
            pool.offer(chosen, times(task, chosen).step if len(chosen) else np.empty(0))
    pool = safe if len(safe.seconds) or not len(daring.seconds) else daring
    best, seconds = pool.taken()
    return Contest(
        plans=best, seconds=seconds, unfit=unfit, unpriced=space.legal - seen, daring=pool is daring,
        smallest=None if len(seconds) else smallest[1],
    )  # fmt: skip


def _parts(order: Numbers, size: int) -> list[Numbers]:
    return np.split(order, range(size, len(order), size)) if len(order) else []
