"""The schedules that are performed: built once, checked once, kept. No list runs that `validate` has not seen."""

from __future__ import annotations

from functools import lru_cache

from plait.schedules.forward_only import forward_only
from plait.schedules.registry import build_schedule
from plait.schedules.schedule import Schedule
from plait.schedules.validate import validate

__all__ = ["evaluation_schedule", "training_schedule"]


@lru_cache(maxsize=64)
def training_schedule(kind: str, stages: int, microbatches: int) -> Schedule:
    """The schedule called `kind`. Raises PlaitError for an unknown name, IllegalSchedule for an unsound list."""
    schedule = build_schedule(kind, stages, microbatches)
    validate(schedule)
    return schedule


@lru_cache(maxsize=64)
def evaluation_schedule(stages: int, microbatches: int) -> Schedule:
    """Forwards alone. Raises as `training_schedule`."""
    schedule = forward_only(stages, microbatches)
    validate(schedule, training=False)
    return schedule
