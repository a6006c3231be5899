"""One step of training: forward and backward over the rank's microbatches, the sums, the clip, the update.

    ├──────────── schedule ────────────┤├─── reduction ───┤├ optimizer ┤
      F F B F B B   (and waiting between)   sums, norm, clip    update

Its seconds come back in the planner's own terms, so that the two can be laid side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter

from plait.collectives.recorder import record
from plait.devices.device import Device
from plait.models.sequences import Sequences
from plait.parallel.model import ParallelModel
from plait.plans.meetings import pace_of
from plait.plans.prediction import Terms
from plait.schedules.action import COMPUTE
from plait.specs.training import TrainingSpec
from plait.training.learning_rate import learning_rate_at
from plait.training.optimizer import Optimizer

__all__ = ["StepResult", "train_step"]


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """`loss`: mean over the global batch's targets, on the last stage; `norm`: before clipping, where clipping asks.

    `terms` add up to `seconds`. A stage that waits for a neighbour can't tell its slowness from the transfer's: both
    are `bubble`. On an accelerator `seconds` is measured, and so is the schedule as a whole; but within the schedule
    `compute` is only the time in which its actions were queued, and `bubble` all the rest.
    """

    loss: float | None
    norm: float | None
    seconds: float
    terms: Terms

    def after_waiting(self, seconds: float) -> StepResult:
        """The same, and so many seconds before it in which its portion and weights were waited for."""
        exposed = {**self.terms.exposed, "data": self.terms.exposed["data"] + seconds}
        return replace(self, seconds=self.seconds + seconds, terms=replace(self.terms, exposed=exposed))


def train_step(
    model: ParallelModel,
    optimizer: Optimizer,
    rows: Sequences,
    target_count: int,
    training: TrainingSpec,
    on_gradients: Callable[[], None] | None = None,
    *,
    settles: bool = False,
) -> StepResult:
    """Learn from `rows`, this data rank's share of a global batch that has `target_count` targets.

    Where the model has a `server`, rows are those of the portion taken last, and the server updates: it has been given
    the optimizer.
    `on_gradients` is called when gradients are summed and not yet clipped (verify looks at them there). `settles`:
    replicas that learn alone come together at the end, whatever their pace, so that they can be saved. Raises
    IllegalJob for sequences that the plan can't take.
    """
    model.require_legal(rows)
    pace = pace_of(model.plan, training, rows.step, settles=settles)
    start = _now(model.device)
    with record() as scheduling:
        loss = model.forward_backward(rows, target_count, pace)
    computed = _now(model.device)
    with record() as following:
        model.sum_gradients()
        if on_gradients is not None:
            on_gradients()
        norm = model.clip_gradients(training.clip_norm) if training.clip_norm > 0 else None
        (model.server or optimizer).step(learning_rate_at(rows.step, training))
        if model.average(optimizer.masters, pace):
            optimizer.spread()
        model.renew_weights()
    end = _now(model.device)
    terms = _terms(
        computing=sum(timed.end - timed.start for timed in model.timeline if timed.action.kind in COMPUTE),
        schedule=computed - start - model.beginning_seconds,
        rest=end - computed + model.beginning_seconds,
        within=model.blocked_seconds,
        scheduling=scheduling.blocked_seconds,
        following=following.blocked_seconds,
    )
    return StepResult(loss=loss, norm=norm, seconds=end - start, terms=terms)


def _now(device: Device) -> float:
    """The clock, once the device has done all that it was asked: else a step would last as long as the asking."""
    device.synchronize()
    return perf_counter()


def _terms(
    *,
    computing: float,
    schedule: float,
    rest: float,
    within: Mapping[str, float],
    scheduling: Mapping[str, float],
    following: Mapping[str, float],
) -> Terms:
    """Split a step: `computing` seconds in actions, `schedule` until the last one, `rest` before and after it; and what
    was blocked, by axis: `within` actions (what stands between computations is none of it), while all was `scheduling`
    (the loss, too, that is reported over the data axis), and `following` it."""
    inside = {axis: within.get(axis, 0.0) for axis in ("data", "tensor")}
    report = scheduling.get("data", 0.0) - inside["data"]
    exposed = {axis: following.get(axis, 0.0) + inside.get(axis, 0.0) for axis in ("data", "tensor", "pipeline")}
    exposed["data"] += report
    return Terms(
        compute=computing - sum(inside.values()),
        bubble=schedule - computing - report,
        optimizer=rest - sum(following.values()),
        exposed=exposed,
    )
