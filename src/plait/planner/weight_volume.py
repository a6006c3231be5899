"""Under ZeRO: what of a stage's weights travels along the data axis in a step, and what stands meanwhile.

    level 1, 2    each bucket of weights once, after the update
    level 3       each unit of weights as often as `plans.fetching` says; two layers are whole at a time, and one stands
                  twice while it is put together from what a wire has received
    level 2, 3    two buckets of gradients are on their way

It knows a stage, no link and no second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

from plait.planner.holding import Blocks, held_of, layers_of
from plait.planner.stage import Stage
from plait.planner.timetable import timetable
from plait.plans.fetching import Fetches, Unit, fetches, units
from plait.plans.plan import Plan
from plait.plans.reductions import STAGED
from plait.plans.rows import rounds_of
from plait.schedules.action import Kind
from plait.specs.model import ModelSpec
from plait.specs.training import ITEMSIZE, PRECISIONS, TrainingSpec

__all__ = ["Fetch", "WeightMessage", "When", "fetched_units", "staged_elements", "weight_messages", "whole_elements"]

When = Literal["forward", "backward", "update"]


_WHEN: dict[Kind, When] = {Kind.F: "forward", Kind.B: "backward", Kind.I: "backward"}


class Fetch(NamedTuple):
    """One unit of weights that is put together: how many they are, of how many elements, and what waits for it."""

    weights: int
    elements: int
    when: When


class WeightMessage(NamedTuple):
    """One all-gather of weights: its bytes, and what waits for it; for an update, the next forward does."""

    bytes: int
    when: When


def weight_messages(stage: Stage, training: TrainingSpec, plan: Plan, place: int) -> Counter[WeightMessage]:
    """How often each all-gather of one step occurs on pipeline stage `place`."""
    each = plan.data * ITEMSIZE[PRECISIONS[training.precision].compute]
    found: Counter[WeightMessage] = Counter()
    if plan.sharding_level in (1, 2) and not plan.served:
        for part in stage.bucket_parts:
            found[WeightMessage(each * part, "update")] += 1
    for number, when, times in _used(stage, training, plan, place):
        found[WeightMessage(each * stage.unit_parts[number], when)] += times
    return found


def fetched_units(stage: Stage, training: TrainingSpec, plan: Plan, place: int) -> Counter[Fetch]:
    """How often each unit is put together in one step under ZeRO 3."""
    found: Counter[Fetch] = Counter()
    for number, when, times in _used(stage, training, plan, place):
        found[Fetch(len(stage.units[number].weights), stage.unit_elements[number], when)] += times
    return found


def staged_elements(stage: Stage, plan: Plan) -> int:
    """Elements of the buffers in which gradients are on their way."""
    if plan.sharding_level < 2:
        return 0
    largest = max(sum(one.elements for one in bucket) for bucket in stage.buckets)
    return largest * min(len(stage.buckets), STAGED)


def whole_elements(stage: Stage, training: TrainingSpec, plan: Plan, place: int, *, received: bool) -> int:
    """Elements of the weights that are whole at the worst moment, beside the pieces; `received`: where they come into
    memory of the wire's, which is counted, and not to be read where the other ranks have them."""
    if plan.sharding_level < 3:
        return 0
    found = _fetches(stage, plan, rounds_of(plan, training.global_batch), place)
    sizes = stage.unit_elements
    most = max(sum(sizes[number] for number in there) for there in found.there)
    if not received:
        return most
    twice = (
        sum(sizes[number] for number in meanwhile) + max(sizes[number] for number in arriving)
        for arriving, meanwhile in found.arriving
    )
    return max(most, *twice)


def _used(stage: Stage, training: TrainingSpec, plan: Plan, place: int) -> Iterator[tuple[int, When, int]]:
    """Under ZeRO 3 the number of each unit that is fetched, what waits for it, and how often."""
    if plan.sharding_level == 3:
        found = _fetches(stage, plan, rounds_of(plan, training.global_batch), place)
        for (number, kind), times in found.counts.items():
            yield number, _WHEN[kind], times


def _fetches(stage: Stage, plan: Plan, microbatches: int, place: int) -> Fetches:
    program = (plan.schedule, plan.pipeline, microbatches, plan.virtual_stages)
    return _fetched(stage.model, stage.blocks, program, place)


@lru_cache(maxsize=4096)
def _fetched(model: ModelSpec, blocks: Blocks, program: tuple[str, int, int, int], place: int) -> Fetches:
    """Which weights are used together doesn't depend on how the tensor axis splits them."""
    schedule = timetable(*program).schedule
    here = [number for number, rank in enumerate(schedule.stage_rank) if rank == place]
    turn_of = {number: turn for turn, number in enumerate(here)}
    actions = [(turn_of[action.stage], action.kind) for step in schedule.programs[place] for action in step]
    return fetches(_units(model, blocks), layers_of(model, blocks), actions)


@lru_cache(maxsize=1024)
def _units(model: ModelSpec, blocks: Blocks) -> tuple[Unit, ...]:
    layers = [layer for part in layers_of(model, blocks) for layer in part]
    return units(layers, held_of(model, blocks, (1,), 0))
