"""Under ZeRO: what of a stage's weights travels along the data axis in a step, and what stands meanwhile.

    level 1, 2    each bucket of weights once, after the update
    level 3       each unit of weights as often as `plans.fetching` says; two layers are whole at a time
    level 2, 3    two buckets of gradients are on their way

It knows a stage, no link and no second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from plait.planner.stage import Stage
from plait.planner.timetable import timetable_of
from plait.plans.fetching import Turn, Unit, turns, units, uses
from plait.plans.holdings import Held
from plait.plans.keeping import most_kept
from plait.plans.plan import Plan
from plait.plans.reductions import STAGED, gradient_buckets
from plait.plans.rows import rounds_of
from plait.schedules.action import Kind
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["WeightMessage", "When", "staged_elements", "weight_messages", "whole_elements"]

When = Literal["forward", "backward", "update"]


_WHEN: dict[Kind, When] = {Kind.F: "forward", Kind.B: "backward", Kind.I: "backward"}


class WeightMessage(NamedTuple):
    """One all-gather of weights: its bytes, and what waits for it; for an update, the next forward does."""

    bytes: int
    when: When


def weight_messages(stage: Stage, training: TrainingSpec, plan: Plan, place: int) -> Iterator[WeightMessage]:
    """Every all-gather of one step on pipeline stage `place`."""
    sizes: dict[int, int] = {}  # a layer is fetched at every microbatch
    for number, held, when in _sent(stage, training, plan, place):
        if number not in sizes:
            sizes[number] = plan.data * most_kept(held, plan) * ITEMSIZE[PRECISIONS[training.precision].compute]
        yield WeightMessage(sizes[number], when)


def staged_elements(stage: Stage, training: TrainingSpec, plan: Plan) -> int:
    """Elements of the buffers in which gradients are on their way."""
    if plan.sharding_level < 2:
        return 0
    buckets = gradient_buckets(stage.held, plan, ITEMSIZE[PRECISIONS[training.precision].reduce])
    return max(sum(one.elements for one in bucket) for bucket in buckets) * min(len(buckets), STAGED)


def whole_elements(stage: Stage, training: TrainingSpec, plan: Plan, place: int) -> int:
    """Elements of the weights that are whole at the worst moment, beside the pieces."""
    if plan.sharding_level < 3:
        return 0
    found = _turns(stage, training, plan, place)
    return max(sum(known[number].elements for number in turn.there) for known, turn, _ in found)


def _sent(stage: Stage, training: TrainingSpec, plan: Plan, place: int) -> Iterator[tuple[int, Sequence[Held], When]]:
    """The number of a bucket or unit, what it has, and what waits for it."""
    if plan.sharding_level in (1, 2) and not plan.served:
        itemsize = ITEMSIZE[PRECISIONS[training.precision].reduce]
        for number, bucket in enumerate(gradient_buckets(stage.held, plan, itemsize)):
            yield number, bucket, "update"
    if plan.sharding_level == 3:
        for known, turn, when in _turns(stage, training, plan, place):
            for number in turn.fetched:
                yield number, known[number].weights, when


def _turns(
    stage: Stage, training: TrainingSpec, plan: Plan, place: int
) -> Iterator[tuple[tuple[Unit, ...], Turn, When]]:
    """Each turn of the stage's program, with the units that it speaks of."""
    program = timetable_of(plan, rounds_of(plan, training.global_batch)).schedule.programs[place]
    turn_of = {number: turn for turn, number in enumerate(plan.stages_at(place))}
    known = units(stage.layers, stage.held)
    order: list[int] = []
    whens: list[When] = []
    for action in (action for step in program for action in step):
        used = list(uses(stage.parts, [(turn_of[action.stage], action.kind)]))
        when = _WHEN.get(action.kind, "update")
        order += used
        whens.extend(when for _ in used)
    for turn, when in zip(turns(known, order), whens, strict=True):
        yield known, turn, when
