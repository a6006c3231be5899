"""What a run's products would take at the peak: for the constant that predictions are laid beside.

    FLOPs = tokens · (6 · the weights that a token meets + 6 · blocks · heads · (key + value) · sequence · ½ if causal)

once more forward where everything is done again. The tables of weights for looking tokens up are not multiplied. Of
blocks for further tokens each meets the head once more.
"""

from __future__ import annotations

import numpy as np

from plait.estimates.arrangements import RECOMPUTE, Arrangements
from plait.estimates.task import Task
from plait.layers.parameters import parameters, prediction_parameters

__all__ = ["ideal_seconds"]


def ideal_seconds(task: Task, plan: Arrangements) -> float:
    """Seconds of one step of one plan at the peak of its devices."""
    model, counted, further = task.model, parameters(task.model), task.model.prediction_layers
    head = counted.head or model.vocab * model.hidden
    met = counted.active - counted.embedding - counted.head + head
    met += further * (prediction_parameters(model).active + head)
    scores = 6 * (model.layers + further) * model.heads * (model.key_dim + model.value_dim) * task.sequence
    flops = task.global_batch * task.sequence * (6.0 * met + scores * (0.5 if model.family == "gpt" else 1.0))
    if RECOMPUTE[int(plan.recompute[0])] == "full":
        flops *= 4 / 3
    peak = task.machines.device.peak(task.dtype)
    assert peak is not None, "a run is read with a dtype that its device has"
    return float(flops / (np.int64(plan.ranks[0]) * peak))
