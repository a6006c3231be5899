"""The schedules by the names that a job gives them (`plan.schedule`).

A new schedule is one module with its staircase and one line in this table.
"""

from __future__ import annotations

from collections.abc import Callable

from plait.errors import PlaitError
from plait.schedules.gpipe import gpipe
from plait.schedules.one_f_one_b import one_f_one_b
from plait.schedules.schedule import Schedule

__all__ = ["BUILT", "build_schedule"]

_BUILDERS: dict[str, Callable[[int, int], Schedule]] = {"gpipe": gpipe, "1f1b": one_f_one_b}
_TO_COME = ("interleaved", "zb-h1", "zb-v")

BUILT = tuple(_BUILDERS)


def build_schedule(kind: str, stages: int, microbatches: int) -> Schedule:
    """The schedule called `kind`; raises PlaitError for a name that isn't built, or without stages or microbatches."""
    if kind not in _BUILDERS:
        complaint = "is not built yet" if kind in _TO_COME else "is no schedule"
        raise PlaitError(f'schedule = "{kind}" {complaint}; built are: {", ".join(BUILT)}')
    return _BUILDERS[kind](stages, microbatches)
