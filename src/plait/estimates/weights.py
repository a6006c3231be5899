"""How many weights the first or the last stage of each plan holds: blocks, and the table or the head beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from plait.estimates.arrangements import SCHEDULES, Arrangements, Column
from plait.estimates.task import Task
from plait.layers.parameters import parameters

__all__ = ["Held", "Place", "held_by"]

Place = Literal["first", "middle", "last"]


@dataclass(frozen=True, kw_only=True)
class Held:
    """Elements of a rank's dense weights and of its experts', and how many blocks it has."""

    dense: Column
    experts: Column
    blocks: Column


def held_by(task: Task, plans: Arrangements, place: Place, blocks: Column | None = None) -> Held:
    """What a rank of that stage holds, with so many blocks, or the most that a stage has."""
    model, counted = task.model, parameters(task.model)
    stages = plans.pipeline * np.maximum(plans.virtual_stages, 1)
    most = np.ceil(model.layers / stages) * np.maximum(plans.virtual_stages, 1)
    mine = np.minimum(most, model.layers) if blocks is None else blocks
    head = counted.head or counted.embedding  # a tied head stands on the last stage, too
    both = counted.embedding + counted.head
    straight = {"first": counted.embedding, "middle": 0, "last": head}[place]
    in_a_v = both if place == "first" else 0  # which ends where it begins
    ends = np.where(plans.schedule == SCHEDULES.index("zb-v"), in_a_v, straight)
    ends = np.where(plans.pipeline == 1, both, ends)
    inside = counted.attention + counted.mlp + counted.norms + counted.router + counted.shared
    return Held(
        dense=(inside * mine / model.layers + ends) / plans.tensor,
        experts=counted.experts * mine / model.layers / plans.expert,
        blocks=mine,
    )
