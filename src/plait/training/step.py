"""One step of training: forward and backward over the rank's microbatches, the sums, the clip, the update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from plait.models.sequences import Sequences
from plait.parallel.model import ParallelModel
from plait.specs.training import TrainingSpec
from plait.training.learning_rate import learning_rate_at
from plait.training.optimizer import Optimizer

__all__ = ["StepResult", "StepTimes", "train_step"]


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """Where the seconds of one step went."""

    schedule: float  # forward and backward, until the last action
    reduction: float  # sums of gradients that were not hidden, norm and clip
    optimizer: float

    @property
    def total(self) -> float:
        """The whole step."""
        return self.schedule + self.reduction + self.optimizer


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """`loss`: mean over the global batch's targets, on the last stage; `norm`: before clipping, where clipping asks."""

    loss: float | None
    norm: float | None
    times: StepTimes


def train_step(
    model: ParallelModel,
    optimizer: Optimizer,
    rows: Sequences,
    target_count: int,
    training: TrainingSpec,
    on_gradients: Callable[[], None] | None = None,
) -> StepResult:
    """Learn from `rows`, this data rank's share of a global batch that has `target_count` targets.

    `on_gradients` is called when gradients are summed and not yet clipped (verify looks at them there).
    """
    start = perf_counter()
    loss = model.forward_backward(rows, target_count)
    computed = perf_counter()
    model.sum_gradients()
    if on_gradients is not None:
        on_gradients()
    norm = model.clip_gradients(training.clip_norm) if training.clip_norm > 0 else None
    reduced = perf_counter()
    optimizer.step(learning_rate_at(rows.step, training))
    end = perf_counter()
    times = StepTimes(schedule=computed - start, reduction=reduced - computed, optimizer=end - reduced)
    return StepResult(loss=loss, norm=norm, times=times)
