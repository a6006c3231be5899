"""What a computation waits for: the computations, on whatever rank, that have to end before it starts.

    stage s - 1      F ──┐
    stage s              └─> F ──────┬─> I or B ──> W        B is I and W at once
    stage s + 1                      │
                     I or B ─────────┘

It knows stages and microbatches, neither ranks nor transfers.
"""

from __future__ import annotations

from collections.abc import Iterator

from plait.schedules.action import Action, Kind

__all__ = ["needs"]


def needs(action: Action, stages: int) -> Iterator[tuple[Action, ...]]:
    """What must have ended before a computation of one of so many stages starts; of a tuple, one."""
    stage, kind, k = action
    if kind == Kind.F and stage > 0:
        yield (Action(stage - 1, Kind.F, k),)
    if kind in (Kind.B, Kind.I):
        yield (Action(stage, Kind.F, k),)
        if stage < stages - 1:
            yield Action(stage + 1, Kind.B, k), Action(stage + 1, Kind.I, k)
    if kind == Kind.W:
        yield (Action(stage, Kind.I, k),)
