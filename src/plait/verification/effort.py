"""What the ranks did beside what the plan says: FLOPs by layer, bytes held, messages. None of them is a matter of
rounding: they are equal, or something is computed twice, held whole, or sent for nothing, while every value is right.

It lays numbers side by side, and knows neither where the planned ones come from nor how the others were counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plait.plans.prediction import Work

__all__ = ["Departure", "Effort", "departures"]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """One rank's work in one step, as the plan says and as it was counted."""

    rank: int
    planned: Work
    performed: Work


@dataclass(frozen=True, kw_only=True)
class Departure:
    """A number of a rank that isn't the plan's. `layer` and `axis` where it is known to be a matter of one."""

    rank: int
    what: str
    planned: int
    performed: int
    layer: str | None = None
    axis: str | None = None


def departures(efforts: Sequence[Effort]) -> tuple[Departure, ...]:
    """All of them, rank by rank: FLOPs in the order of the layers, then bytes, then messages."""
    return tuple(found for effort in efforts for found in _of_rank(effort))


def _of_rank(effort: Effort) -> Iterator[Departure]:
    planned, performed = effort.planned, effort.performed
    for layer in dict.fromkeys((*planned.forward_flops, *performed.forward_flops)):
        numbers = planned.forward_flops.get(layer, 0), performed.forward_flops.get(layer, 0)
        yield from _unequal(effort.rank, f"forward FLOPs of {layer}", *numbers, layer=layer)
    for name in ("backward_flops", "weight_bytes", "gradient_bytes", "optimizer_bytes", "residual_bytes"):
        words = name.replace("_", " ").replace("flops", "FLOPs")
        yield from _unequal(effort.rank, words, getattr(planned, name), getattr(performed, name))
    counts = [{(t.axis, t.kind, t.bytes): t.count for t in work.collectives} for work in (planned, performed)]
    for axis, kind, size in dict.fromkeys((*counts[0], *counts[1])):
        numbers = counts[0].get((axis, kind, size), 0), counts[1].get((axis, kind, size), 0)
        yield from _unequal(effort.rank, f"{kind} of {size:,} bytes", *numbers, axis=axis)


def _unequal(
    rank: int, what: str, planned: int, performed: int, *, layer: str | None = None, axis: str | None = None
) -> Iterator[Departure]:
    if planned != performed:
        yield Departure(rank=rank, what=what, planned=planned, performed=performed, layer=layer, axis=axis)
