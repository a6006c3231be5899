"""1F1B (PipeDream-Flush; Narayanan et al. 2021): GPipe's bubble, but rank i holds min(p - i, m) microbatches, not m.

    rank 0   F0 F1 F2 F3 .. .. .. B0 F4 B1 F5 B2 .. B3 .. B4 .. B5
    rank 1   .. F0 F1 F2 .. .. B0 F3 B1 F4 B2 F5 B3 .. B4 .. B5 ..
    rank 2   .. .. F0 F1 .. B0 F2 B1 F3 B2 F4 B3 F5 B4 .. B5 .. ..
    rank 3   .. .. .. F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 .. .. ..

Rank i begins with p - 1 - i forwards that no backward answers (its lead over the last rank); then one forward, one
backward; then the backwards that are left.
"""

from __future__ import annotations

from collections.abc import Iterator

from plait.schedules.action import Action, Kind
from plait.schedules.schedule import Schedule, schedule_from_orders

__all__ = ["one_f_one_b"]


def one_f_one_b(stages: int, microbatches: int) -> Schedule:
    """The 1F1B schedule of `stages` ranks; raises PlaitError unless both numbers are at least 1."""
    return schedule_from_orders("1f1b", microbatches, [_order(s, stages - 1 - s, microbatches) for s in range(stages)])


def _order(stage: int, lead: int, microbatches: int) -> Iterator[Action]:
    for k in range(microbatches + lead):
        if k < microbatches:
            yield Action(stage, Kind.F, k)
        if k >= lead:
            yield Action(stage, Kind.B, k - lead)
