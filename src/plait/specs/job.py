"""A job: the four things a user gives, and the plan's table as constraints on the search.

It knows their types only; reading a file stands in `specs/files`, the rules between them in `plans/legality`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from plait.specs.cluster import ClusterSpec
from plait.specs.model import ModelSpec
from plait.specs.training import DataSpec, TrainingSpec

__all__ = ["Job", "PlanValue"]

PlanValue = int | float | str | bool | tuple[int | float, ...]


@dataclass(frozen=True, kw_only=True)
class Job:
    """`constraints` holds exactly the keys that the user wrote in `[plan]`; whatever is absent is searched."""

    model: ModelSpec
    data: DataSpec = field(default_factory=DataSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)
    cluster: ClusterSpec = field(default_factory=ClusterSpec)
    constraints: Mapping[str, PlanValue] = field(default_factory=dict[str, PlanValue])
