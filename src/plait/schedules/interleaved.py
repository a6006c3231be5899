"""Interleaved 1F1B (Narayanan et al. 2021): rank r has stages r, r + p, …; a bubble v times smaller, for more
transfers.

    rank 0   0F0 0F1 2F0 2F1 0F2 2B0 0F3 2B1 2F2 0B0 2F3 0B1 ... 2B2 ... 2B3 0B2 0B3
    rank 1   ... 1F0 1F1 3F0 3B0 3F1 3B1 1F2 1B0 1F3 1B1 3F2 3B2 3F3 3B3 1B2 1B3 ...

Microbatches go in groups of p: a rank performs a group with its first stage, then with its second, and so on; backward
the other way round. It begins with 2 (p - 1 - r) forwards more than the last rank, which itself begins with those of
v - 1 stages; then one forward, one backward. The bubble is (p - 1) / (v m + p - 1) of the step.

Where p does not divide m, the schedule is that of the next multiple without what is not there: nothing that is left
out is waited for by what stays, so that every number of microbatches can be run. It then has the bubble of the missing.
"""

from __future__ import annotations

from collections.abc import Iterator

from plait.errors import PlaitError
from plait.schedules.action import Action, Kind
from plait.schedules.clocked import clocked_schedule
from plait.schedules.schedule import Schedule

__all__ = ["interleaved"]


def interleaved(ranks: int, microbatches: int, virtual_stages: int) -> Schedule:
    """The schedule of `ranks` that have `virtual_stages` stages each. Raises PlaitError without ranks or microbatches,
    or with fewer than 2 stages a rank."""
    if ranks < 1 or microbatches < 1 or virtual_stages < 2:
        said = f"here {ranks}, {microbatches} and {virtual_stages}"
        raise PlaitError(f"an interleaved schedule needs 1 rank, 1 microbatch and 2 stages a rank at least; {said}")
    orders = [list(_order(rank, ranks, microbatches, virtual_stages)) for rank in range(ranks)]
    return clocked_schedule("interleaved", microbatches, orders, [*range(ranks)] * virtual_stages)


def _order(rank: int, ranks: int, microbatches: int, virtual_stages: int) -> Iterator[Action]:
    whole = -(-microbatches // ranks) * ranks
    forwards = list(_visits(rank, ranks, whole, range(virtual_stages)))
    backwards = list(_visits(rank, ranks, whole, range(virtual_stages)[::-1]))
    lead = min(len(forwards), 2 * (ranks - 1 - rank) + (virtual_stages - 1) * ranks)
    for i in range(len(forwards) + lead):
        for visits, kind, place in ((forwards, Kind.F, i), (backwards, Kind.B, i - lead)):
            if 0 <= place < len(visits) and visits[place][1] < microbatches:
                yield Action(visits[place][0], kind, visits[place][1])


def _visits(rank: int, ranks: int, microbatches: int, turns: range) -> Iterator[tuple[int, int]]:
    """The (stage, microbatch) pairs of a rank, group by group; `turns`: its stages, in the order of one group."""
    for first in range(0, microbatches, ranks):
        for turn in turns:
            for k in range(first, first + ranks):
                yield turn * ranks + rank, k
