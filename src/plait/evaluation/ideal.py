"""What a run's products would take at the peak, those that are done again too: for the constant that predictions are
laid beside."""

from __future__ import annotations

import numpy as np

from plait.estimates.arrangements import RECOMPUTE, Arrangements
from plait.estimates.model_flops import model_flops
from plait.estimates.task import Task

__all__ = ["ideal_seconds"]


def ideal_seconds(task: Task, plan: Arrangements) -> float:
    """Seconds of one step of one plan at the peak of its devices: a third more where everything is done again."""
    again = 4 / 3 if RECOMPUTE[int(plan.recompute[0])] == "full" else 1.0
    peak = task.machines.device.peak(task.dtype)
    assert peak is not None, "a run is read with a dtype that its device has"
    return float(again * model_flops(task) / (np.int64(plan.ranks[0]) * peak))
