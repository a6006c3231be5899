"""What a run leaves to be compared: tensors by step, kind and name.

    value      block 3                   what a layer gives, whole: (global batch, sequence, hidden)
               block 3/gradient          ... and the gradient that comes back to it
               block 3/evaluated         ... and what it gives after the step, without dropout
    loss       loss, loss/evaluated
    gradient   transformer.wte.weight    summed over everything, before clipping
    norm       norm, norm/clipped        of all gradients, before and after clipping
    optimizer  transformer.wte.weight/exp_avg
    weight     transformer.wte.weight

Arrays, not tensors: what ranks send home can be compared by a process that never imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from plait.sharding.boxes import Interval

__all__ = [
    "EPSILON",
    "PRECISIONS",
    "Array",
    "Entry",
    "EntryKind",
    "Intervals",
    "Looks",
    "Order",
    "Precision",
    "RankTrace",
    "Reference",
    "Trace",
]

EntryKind = Literal["value", "loss", "gradient", "norm", "weight", "optimizer"]
Precision = Literal["fp64", "fp32"]
Order = Literal["plain", "backwards", "renumbered"]  # in which the reference takes its sums
PRECISIONS: tuple[Precision, ...] = ("fp64", "fp32")
EPSILON: dict[Precision, float] = {"fp64": 2.0**-52, "fp32": 2.0**-23}
Array = npt.NDArray[Any]


class Entry(NamedTuple):
    """Names one tensor of a run. What stands before a slash is a layer's or a weight's name."""

    step: int
    kind: EntryKind
    name: str

    @property
    def owner(self) -> str:
        """The layer or the weight that it belongs to."""
        return self.name.partition("/")[0]

    @property
    def evaluated(self) -> bool:
        """Whether it comes from the evaluation that follows a step."""
        return self.name.endswith("/evaluated")


Trace = dict[Entry, Array]
Intervals = tuple[tuple[Interval, ...], ...]  # by dim
Looks = Mapping[tuple[str, int], Sequence[float]]  # by layer and first sample of a microbatch


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One process's tensors; the layers that are `pinned` to a narrower dtype; and what layers that look at their data
    were told (`lift`)."""

    trace: Trace
    pinned: frozenset[str] = frozenset()
    looks: Looks = field(default_factory=dict[tuple[str, int], list[float]])


@dataclass(frozen=True, kw_only=True)
class RankTrace:
    """One rank's tensors, and for each owner that it holds a part of, its intervals along every dim of the whole; in
    `kept` those of what it updates, where that is less (ZeRO): so lie optimizer tensors, masters, and gradients, unless
    these are of all that it holds (`own_gradients`)."""

    tensors: Trace
    intervals: dict[str, Intervals]
    kept: dict[str, Intervals] = field(default_factory=dict[str, Intervals])
    looks: Looks = field(default_factory=dict[tuple[str, int], list[float]])
    own_gradients: bool = False

    def intervals_of(self, entry: Entry) -> Intervals | None:
        """A tensor's intervals; None where it is whole."""
        updated = entry.kind == "optimizer" or entry.name.endswith("/master")
        updated = updated or (entry.kind == "gradient" and not self.own_gradients)
        found = self.kept.get(entry.owner) if updated else None
        return found or self.intervals.get(entry.owner)

    def box(self, entry: Entry) -> tuple[Array, ...]:
        """For each dim of a tensor, the indices of the whole at which its elements lie."""
        array = self.tensors[entry]
        intervals = self.intervals_of(entry)
        if intervals is None or array.ndim == 0:
            return tuple(np.arange(size) for size in array.shape)
        return tuple(np.concatenate([np.arange(start, stop) for start, stop in dim]) for dim in intervals)
