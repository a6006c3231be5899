"""The forward staircase alone, for validation and inference: nothing is held for a backward that never comes.

rank 0   F0 F1 F2 F3 .. ..
rank 1   .. F0 F1 F2 F3 ..
rank 2   .. .. F0 F1 F2 F3
"""

from __future__ import annotations

from plait.schedules.action import Action, Kind
from plait.schedules.schedule import Schedule, schedule_from_orders

__all__ = ["forward_only"]


def forward_only(stages: int, microbatches: int) -> Schedule:
    """The forward pass of `stages` ranks; raises PlaitError unless both numbers are at least 1."""
    orders = [[Action(stage, Kind.F, k) for k in range(microbatches)] for stage in range(stages)]
    return schedule_from_orders("forward-only", microbatches, orders)
