"""What a model's products cost, whoever computes them and however: what utilisation is counted by.

    model FLOPs = tokens · (6 · the weights that a token meets + 6 · blocks · heads · (key + value) · tokens seen)

(Chowdhery et al., "PaLM", 2022, appendix B, which counts causal scores whole.) A causal token sees half of the sequence
in the mean, or the window before it; in a block that looks at an encoder's output all of that, too. What is computed
again does not count. The tables of weights for looking tokens up are not multiplied. Of blocks for further tokens each
meets the head once more.
"""

from __future__ import annotations

from plait.estimates.task import Task
from plait.layers.parameters import parameters, prediction_parameters
from plait.specs.model import ModelSpec

__all__ = ["model_flops"]


def model_flops(task: Task) -> float:
    """Floating-point operations of one step, forward and backward."""
    model, counted, further = task.model, parameters(task.model), task.model.prediction_layers
    head = counted.head + (model.vocab * model.hidden if model.tie_embeddings else 0)
    met = counted.active - counted.embedding - counted.head + head
    met += further * (prediction_parameters(model).active + head)
    seen = sum(_seen(model, block, task.sequence) for block in range(model.layers))
    seen += further * _seen(model, model.layers - 1, task.sequence)
    scores = 6 * model.heads * (model.key_dim + model.value_dim) * seen
    return task.global_batch * task.sequence * (6.0 * met + scores)


def _seen(model: ModelSpec, block: int, sequence: int) -> float:
    """Tokens whose scores a token has in a block, in the mean over a sequence."""
    if model.family == "bert" or block < model.encoder_layers:
        return sequence
    window = min(model.window or sequence, sequence)
    return window * (1 - window / sequence / 2) + (sequence if model.crosses(block) else 0)
