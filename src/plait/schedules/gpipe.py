"""GPipe (Huang et al. 2019): every forward, then every backward; a rank holds all m microbatches in between.

    rank 0   F0 F1 F2 F3 .. .. .. .. .. .. B0 B1 B2 B3
    rank 1   .. F0 F1 F2 F3 .. .. .. .. B0 B1 B2 B3 ..
    rank 2   .. .. F0 F1 F2 F3 .. .. B0 B1 B2 B3 .. ..
    rank 3   .. .. .. F0 F1 F2 F3 B0 B1 B2 B3 .. .. ..

The bubble is (p - 1) / (m + p - 1) of the step. Backward runs in the order of forward, not in reverse as in the paper:
then gradients are summed in the same order as under every other schedule, and on one device.
"""

from __future__ import annotations

from collections.abc import Iterator

from plait.schedules.action import Action, Kind
from plait.schedules.schedule import Schedule, schedule_from_orders

__all__ = ["gpipe"]


def gpipe(stages: int, microbatches: int) -> Schedule:
    """The GPipe schedule of `stages` ranks; raises PlaitError unless both numbers are at least 1."""
    return schedule_from_orders("gpipe", microbatches, [_order(stage, microbatches) for stage in range(stages)])


def _order(stage: int, microbatches: int) -> Iterator[Action]:
    for kind in (Kind.F, Kind.B):
        for k in range(microbatches):
            yield Action(stage, kind, k)
