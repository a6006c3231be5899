"""How many weights a stage of each plan holds: blocks, table or head beside them, and what predicts further tokens.

    split over tensor ranks     products of attention and of the feed-forward part, table, head
    by whole heads              keys and values: several ranks have the same where these are fewer than ranks
    whole on each of them       norms, routers, what makes latent attention's short vectors
    split over expert ranks     experts

A head that stands behind blocks for further tokens has those on its stage, and the table that they look tokens up in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from plait.estimates.arrangements import SCHEDULES, Arrangements, Column
from plait.estimates.rank_groups import rank_group
from plait.estimates.task import Task
from plait.estimates.widths import kv_share
from plait.layers.parameters import BlockParameters, Parameters, parameters, prediction_parameters

__all__ = ["Held", "Place", "held_by"]

Place = Literal["first", "middle", "last"]


@dataclass(frozen=True, kw_only=True)
class Held:
    """Elements of a rank's dense weights and of its experts', and how many blocks it has; `predictions`: further ones,
    which predict more than the next token. Of the dense weights `keys` are heads of keys and values, and `whole` stand
    on every tensor rank."""

    dense: Column
    experts: Column
    blocks: Column
    predictions: Column
    keys: Column
    whole: Column

    def share(self, plans: Arrangements, level: int) -> Column:
        """Elements of which a rank keeps only its part of what equals hold, from this level of ZeRO on."""
        group, copies = rank_group(plans, "data").ranks, rank_group(plans, "copies").ranks
        return np.where(plans.zero >= level, self.dense / group + self.experts / copies, self.dense + self.experts)


def held_by(task: Task, plans: Arrangements, place: Place, blocks: Column | None = None) -> Held:
    """What a rank of that stage holds, with so many blocks, or the most that a stage has."""
    model, counted = task.model, parameters(task.model)
    stages = plans.pipeline * np.maximum(plans.virtual_stages, 1)
    most = np.ceil(model.layers / stages) * np.maximum(plans.virtual_stages, 1)
    mine = np.minimum(most, model.layers) if blocks is None else blocks
    split, keys, whole, experts = (part * (mine / model.layers) for part in _parts(task, plans, counted))
    further = np.zeros(len(plans))
    if model.prediction_layers:
        further = model.prediction_layers * _has_head(plans, place)
        more = (further * part for part in _parts(task, plans, prediction_parameters(model)))
        split, keys, whole, experts = (a + b for a, b in zip((split, keys, whole, experts), more, strict=True))
    return Held(
        dense=split + keys + whole + _ends(task, plans, place) / plans.tensor,
        experts=experts,
        blocks=mine,
        predictions=further,
        keys=keys,
        whole=whole,
    )


def _parts(task: Task, plans: Arrangements, counted: Parameters | BlockParameters) -> tuple[Column, ...]:
    """A rank's elements of these blocks: split evenly, of keys and values, whole, of experts."""
    joined = counted.joined if isinstance(counted, BlockParameters) else 0
    inside = counted.attention - counted.keys - counted.short + counted.mlp + counted.shared + joined
    whole = counted.norms + counted.router + counted.short
    return (
        inside / plans.tensor,
        counted.keys * kv_share(task.model, plans.tensor),
        np.full(len(plans), float(whole)),
        counted.experts / plans.expert,
    )


def _has_head(plans: Arrangements, place: Place) -> Column:
    """1 where the head stands: on the last stage, which in a V is where the first one is."""
    turns = plans.schedule == SCHEDULES.index("zb-v")
    return np.where(plans.pipeline == 1, 1.0, np.where(turns, place == "first", place == "last"))


def _ends(task: Task, plans: Arrangements, place: Place) -> Column:
    """Elements of the table and the head there."""
    model, counted = task.model, parameters(task.model)
    head = counted.head or counted.embedding  # a tied head stands on the last stage, too
    if counted.head and model.prediction_layers:
        head += counted.embedding
    both = counted.embedding + counted.head
    straight = {"first": counted.embedding, "middle": 0, "last": head}[place]
    in_a_v = both if place == "first" else 0  # which ends where it begins
    ends = np.where(plans.schedule == SCHEDULES.index("zb-v"), in_a_v, straight)
    return np.where(plans.pipeline == 1, both, ends)
