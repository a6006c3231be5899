"""The schedules that are performed: built once, checked once, kept. No list runs that `validate` has not seen."""

from __future__ import annotations

from functools import lru_cache

from plait.schedules.forward_only import forward_only
from plait.schedules.registry import build_schedule, placement
from plait.schedules.schedule import Schedule
from plait.schedules.validate import validate

__all__ = ["evaluation_schedule", "training_schedule"]


@lru_cache(maxsize=64)
def training_schedule(kind: str, ranks: int, microbatches: int, virtual_stages: int = 1) -> Schedule:
    """The schedule called `kind`, or drawn. Raises PlaitError for an unknown name or numbers that it can't be built
    for, IllegalSchedule for an unsound list."""
    schedule = build_schedule(kind, ranks, microbatches, virtual_stages)
    validate(schedule)
    return schedule


@lru_cache(maxsize=64)
def evaluation_schedule(kind: str, ranks: int, microbatches: int, virtual_stages: int = 1) -> Schedule:
    """Forwards alone, of the stages as that schedule places them. Raises as `training_schedule`."""
    schedule = forward_only(placement(kind, ranks, virtual_stages), microbatches)
    validate(schedule, training=False)
    return schedule
