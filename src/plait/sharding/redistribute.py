"""The one table that says which collective takes a tensor from one placement to another.

    from \\ to     Replicate       Shard(dim)
    Replicate     nothing         slice (no bytes)
    Shard(a)      all-gather      all-to-all (a ≠ dim), nothing (a = dim)
    Partial       all-reduce      reduce-scatter

A `Transition` is a value's row and its gradient's row, the backward twin: forward and backward of every crossing are
read from here, by the planner that prices them and by the runtime that performs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from plait.sharding.placement import Partial, Placement, Replicate, Shard

__all__ = ["CollectiveKind", "Move", "Transition", "collective_between"]

CollectiveKind = Literal["all_reduce", "reduce_scatter", "all_gather", "all_to_all", "slice", "send", "receive"]


@dataclass(frozen=True, kw_only=True)
class Move:
    """From one placement to another along one axis."""

    source: Placement
    target: Placement

    @property
    def collective(self) -> CollectiveKind | None:
        """What it takes; None where nothing has to be done."""
        return collective_between(self.source, self.target)


@dataclass(frozen=True, kw_only=True)
class Transition:
    """How a value moves in forward, and how its gradient moves in backward."""

    value: Move
    gradient: Move


def collective_between(source: Placement, target: Placement) -> CollectiveKind | None:
    """The collective that takes `source` to `target`, None where they are the same.

    Raises ValueError for a target of Partial: nothing that is whole is made partial.
    """
    if source == target:
        return None
    match source, target:
        case Partial(), Replicate():
            return "all_reduce"
        case Partial("sum"), Shard():
            return "reduce_scatter"
        case Shard(), Replicate():
            return "all_gather"
        case Shard(), Shard():
            return "all_to_all"
        case Replicate(), Shard():
            return "slice"
        case _:
            raise ValueError(f"no collective takes {source} to {target}")
