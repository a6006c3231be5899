"""The forward staircase alone, for validation and inference: nothing is held for a backward that never comes.

rank 0   F0 F1 F2 F3 .. ..
rank 1   .. F0 F1 F2 F3 ..
rank 2   .. .. F0 F1 F2 F3

A rank with several stages takes as many microbatches as there are ranks through the first of them, then through the
next, and then the microbatches that follow: what it waits for always comes earlier in this order.
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.errors import PlaitError
from plait.schedules.action import Action, Kind
from plait.schedules.clocked import clocked_schedule
from plait.schedules.schedule import Schedule, schedule_from_orders

__all__ = ["forward_only"]


def forward_only(stage_rank: Sequence[int], microbatches: int) -> Schedule:
    """The forward pass of stages that stand on these ranks; raises PlaitError without stages or microbatches."""
    if not stage_rank or microbatches < 1:
        said = f"here {len(stage_rank)} and {microbatches}"
        raise PlaitError(f"a forward-only schedule needs at least 1 stage and 1 microbatch; {said}")
    ranks = max(stage_rank) + 1
    orders: list[list[Action]] = [[] for _ in range(ranks)]
    for first in range(0, microbatches, ranks):
        for stage, rank in enumerate(stage_rank):
            orders[rank] += (Action(stage, Kind.F, k) for k in range(first, min(first + ranks, microbatches)))
    if ranks == len(stage_rank):
        return schedule_from_orders("forward-only", microbatches, orders, stage_rank)
    return clocked_schedule("forward-only", microbatches, orders, stage_rank)
