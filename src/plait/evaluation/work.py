"""What a run's products would take at the peak: for the constant that predictions are laid beside.

    FLOPs = tokens · (6 · the weights that a token meets + 12 · layers · hidden · sequence · ½ if causal)

once more forward where everything is done again. The tables of weights for looking tokens up are not multiplied.
"""

from __future__ import annotations

import numpy as np

from plait.estimates.arrangements import RECOMPUTE, Arrangements
from plait.estimates.task import Task
from plait.layers.parameters import parameters

__all__ = ["ideal_seconds"]


def ideal_seconds(task: Task, plan: Arrangements) -> float:
    """Seconds of one step of one plan at the peak of its devices."""
    model, counted = task.model, parameters(task.model)
    head = counted.head or model.vocab * model.hidden
    met = counted.active - counted.embedding - counted.head + head
    scores = 12 * model.layers * model.heads * model.head_dim * task.sequence * (0.5 if model.family == "gpt" else 1.0)
    flops = task.global_batch * task.sequence * (6.0 * met + scores)
    if RECOMPUTE[int(plan.recompute[0])] == "full":
        flops *= 4 / 3
    peak = task.machines.device.peak(task.dtype)
    assert peak is not None, "a run is read with a dtype that its device has"
    return float(flops / (np.int64(plan.ranks[0]) * peak))
