"""What a model's products cost, whoever computes them and however: what utilisation is counted by.

    model FLOPs = tokens · (6 · the weights that a token meets
                            + 6 · blocks · heads · (key + value) · sequence · ½ if causal)

(Chowdhery et al., "PaLM", 2022, appendix B, which counts causal scores whole.) What is computed again does not count.
The tables of weights for looking tokens up are not multiplied. Of blocks for further tokens each meets the head once
more.
"""

from __future__ import annotations

from plait.estimates.task import Task
from plait.layers.parameters import parameters, prediction_parameters

__all__ = ["model_flops"]


def model_flops(task: Task) -> float:
    """Floating-point operations of one step, forward and backward."""
    model, counted, further = task.model, parameters(task.model), task.model.prediction_layers
    head = counted.head or model.vocab * model.hidden
    met = counted.active - counted.embedding - counted.head + head
    met += further * (prediction_parameters(model).active + head)
    scores = 6 * (model.layers + further) * model.heads * (model.key_dim + model.value_dim) * task.sequence
    return task.global_batch * task.sequence * (6.0 * met + scores * (0.5 if model.family == "gpt" else 1.0))
