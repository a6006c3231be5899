"""Under ZeRO: what of a stage's weights travels along the data axis in a step, and what stands meanwhile.

    level 1, 2    each bucket of weights once, after the update
    level 3       each unit of weights as often as `plans.fetching` says; two layers are whole at a time, and one stands
                  twice while it is put together from what a wire has received
    level 2, 3    two buckets of gradients are on their way

It knows a stage, no link and no second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from plait.planner.stage import Stage
from plait.planner.timetable import timetable
from plait.plans.fetching import Fetches, fetches
from plait.plans.holdings import Held
from plait.plans.plan import Plan
from plait.plans.reductions import STAGED
from plait.plans.rows import rounds_of
from plait.schedules.action import Kind
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


@lru_cache(maxsize=4096)
def weight_messages(stage: Stage, training: TrainingSpec, plan: Plan, place: int) -> Counter[WeightMessage]:
    """How often each all-gather of one step occurs on pipeline stage `place`."""
    found: Counter[WeightMessage] = Counter()
    for held, when, times in _sent(stage, training, plan, place):
        longest = sum(stage.longest[one.weight.name] for one in held)
        size = plan.data * longest * ITEMSIZE[PRECISIONS[training.precision].compute]
        found[WeightMessage(size, when)] += times
    return found


@lru_cache(maxsize=4096)
def fetched_units(stage: Stage, training: TrainingSpec, plan: Plan, place: int) -> Counter[Fetch]:
    """How often each unit is put together in one step under ZeRO 3."""
    found: Counter[Fetch] = Counter()
    if plan.sharding_level == 3:
        for held, when, times in _sent(stage, training, plan, place):
            found[Fetch(len(held), sum(one.elements for one in held), when)] += times
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
    sizes = [unit.elements for unit in stage.units]
    most = max(sum(sizes[number] for number in there) for there in found.there)
    if not received:
        return most
    twice = (
        sum(sizes[number] for number in meanwhile) + max(sizes[number] for number in arriving)
        for arriving, meanwhile in found.arriving
    )
    return max(most, *twice)


def _sent(stage: Stage, training: TrainingSpec, plan: Plan, place: int) -> Iterator[tuple[Sequence[Held], When, int]]:
    """What a bucket or unit has, what waits for it, and how often."""
    if plan.sharding_level in (1, 2) and not plan.served:
        for bucket in stage.buckets:
            yield bucket, "update", 1
    if plan.sharding_level == 3:
        rounds = rounds_of(plan, training.global_batch)
        for (number, kind), times in _fetches(stage, plan, rounds, place).counts.items():
            yield stage.units[number].weights, _WHEN.get(kind, "update"), times


def _fetches(stage: Stage, plan: Plan, microbatches: int, place: int) -> Fetches:
    return _fetched(stage, plan.schedule, plan.pipeline, plan.virtual_stages, microbatches, place)


@lru_cache(maxsize=4096)
def _fetched(stage: Stage, schedule: str, ranks: int, virtual_stages: int, microbatches: int, place: int) -> Fetches:
    known = timetable(schedule, ranks, microbatches, virtual_stages).schedule
    here = [number for number, rank in enumerate(known.stage_rank) if rank == place]
    turn_of = {number: turn for turn, number in enumerate(here)}
    program = [(turn_of[action.stage], action.kind) for step in known.programs[place] for action in step]
    return fetches(stage.units, stage.parts, program)
