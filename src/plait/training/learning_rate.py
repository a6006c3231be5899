"""The learning rate of every step, as a pure function: linear warm-up, then decay to zero at the end of the run.

rate   │   ╭──────╮
       │  ╱        ╲         cosine: half a wave; linear: a straight line; none: stays
       │ ╱          ╲
       └──────────────► step
         warm-up
"""

from __future__ import annotations

from math import cos, pi

from plait.specs.training import TrainingSpec

__all__ = ["learning_rate_at"]


def learning_rate_at(step: int, training: TrainingSpec) -> float:
    """The rate of step `step`, counted from 0. Warm-up gives the first step 1/warmup_steps of the full rate."""
    if step < training.warmup_steps:
        return training.learning_rate * ((step + 1) / training.warmup_steps)
    decaying = max(1, training.steps - training.warmup_steps)
    progress = min(1.0, (step - training.warmup_steps) / decaying)
    match training.decay:
        case "cosine":
            return training.learning_rate * 0.5 * (1.0 + cos(pi * progress))
        case "linear":
            return training.learning_rate * (1.0 - progress)
        case "none":
            return training.learning_rate
