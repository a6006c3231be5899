"""A job: the four things a user gives, and the plan's table as constraints on the search.

It knows their types only; reading a file stands in `specs/files`, the rules between them in `plans/legality`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from plait.specs.cluster import ClusterSpec
from plait.specs.grids import is_grid, rows_of
from plait.specs.model import ModelSpec
from plait.specs.training import DataSpec, TrainingSpec

__all__ = ["Job", "PlanValue", "fixed_degree"]

_LISTS = {"data": "data_shares", "tensor": "tensor_shares", "pipeline": "stages"}

PlanValue = int | float | str | bool | tuple[int | float, ...]


@dataclass(frozen=True, kw_only=True)
class Job:
    """`constraints` holds exactly the keys that the user wrote in `[plan]`; whatever is absent is searched.

    `left_alone`: what a model's configuration says and no key of a job does. It is for the user to know, and no part of
    what is planned: a job written to a file is without it.
    """

    model: ModelSpec
    data: DataSpec = field(default_factory=DataSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)
    cluster: ClusterSpec = field(default_factory=ClusterSpec)
    constraints: Mapping[str, PlanValue] = field(default_factory=dict[str, PlanValue])
    left_alone: tuple[str, ...] = field(default=(), compare=False)


def fixed_degree(constraints: Mapping[str, PlanValue], axis: str) -> int | None:
    """What `[plan]` fixes along an axis, by its number, the length of its list or the rows of a grid; None where it is
    left open."""
    if axis in constraints:
        return cast("int", constraints[axis])
    schedule = cast("str", constraints.get("schedule", ""))
    if axis == "pipeline" and is_grid(schedule):
        return rows_of(schedule) or None
    numbers = cast("tuple[float, ...]", constraints.get(_LISTS[axis], ()))
    if axis != "pipeline" or not numbers:
        return len(numbers) or None
    each = _stages_a_rank(constraints, schedule)
    return None if each is None else max(1, len(numbers) // each)


def _stages_a_rank(constraints: Mapping[str, PlanValue], schedule: str) -> int | None:
    if "virtual_stages" in constraints:
        return cast("int", constraints["virtual_stages"])
    return {"interleaved": None, "zb-v": 2}.get(schedule, 1)
