"""Who computes slower than the fastest rank of a plan, what it was given for that, and how that is said.

    data rank 1 computes at half the speed: it takes 5 of 16 sequences
    stage 1 computes at half the speed: it has 2 of 7 layers
    tensor rank 1 computes at half the speed: it holds 2 of 6 heads

It knows a plan and the speeds of its ranks, no price.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from plait.planner.speeds import Speeds
from plait.plans.plan import Plan
from plait.plans.rows import row_counts
from plait.sharding.boxes import shares
from plait.specs.model import ModelSpec
from plait.specs.wording import counted

__all__ = ["Pace", "pace_words", "paces_of"]

_HALF = 0.005  # from 0.5, and still called half
_NAMED = 8  # places in a sentence

_Axis = Literal["data", "pipeline", "tensor"]
_AXES: tuple[_Axis, ...] = ("data", "pipeline", "tensor")
_WORDS = {  # of an axis: its places, what one of them does with its share, and what that is a share of
    "data": ("data rank", "takes", "sequence"),
    "pipeline": ("stage", "has", "layer"),
    "tensor": ("tensor rank", "holds", "head"),
}


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The speed of a place along an axis, its slowest rank's, beside the plan's fastest rank; and its `share` of a
    batch's sequences (data), the model's layers (pipeline) or its heads (tensor)."""

    axis: _Axis
    place: int
    speed: float
    share: int


def paces_of(plan: Plan, speeds: Speeds, model: ModelSpec, global_batch: int) -> tuple[Pace, ...]:
    """Along each axis on which places differ in speed; on none, as each has a slow rank: along the first."""
    if speeds.alike(plan.mesh) is not None:
        return ()
    fastest = speeds.fastest(plan.mesh)
    counts: dict[_Axis, tuple[int, ...]] = {
        "data": row_counts(plan, global_batch)[: plan.workers],
        "pipeline": tuple(sum(plan.stages[n] for n in plan.stages_at(place)) for place in range(plan.pipeline)),
        "tensor": tuple(stop - start for start, stop in shares(model.heads, plan.tensor_shares)),
    }
    along = {axis: speeds.along(plan.mesh, axis)[: len(counts[axis])] for axis in _AXES}
    unlike: list[_Axis] = [axis for axis in _AXES if len(set(along[axis])) > 1]
    several: list[_Axis] = [axis for axis in _AXES if len(along[axis]) > 1]
    return tuple(
        Pace(axis=axis, place=place, speed=speed / fastest, share=share)
        for axis in unlike or several[:1]
        for place, (speed, share) in enumerate(zip(along[axis], counts[axis], strict=True))
    )


def pace_words(paces: Sequence[Pace]) -> Iterator[str]:
    """A sentence, without its point, for each speed below the fastest, and what those of that speed take."""
    for axis in dict.fromkeys(one.axis for one in paces):
        along = [one for one in paces if one.axis == axis]
        name, does, unit = _WORDS[axis]
        total = sum(one.share for one in along)
        alike: dict[tuple[float, int], list[int]] = {}
        for one in along:
            alike.setdefault((one.speed, one.share), []).append(one.place)
        for (speed, share), places in alike.items():
            if speed < 1:
                computes, takes = ("computes", f"it {does}") if len(places) == 1 else ("compute", f"each {does}")
                yield f"{_names(name, places)} {computes} at {_ratio(speed)}: {takes} {share} of {counted(total, unit)}"


def _names(name: str, places: Sequence[int]) -> str:
    if len(places) == 1:
        return f"{name} {places[0]}"
    if len(places) > _NAMED:
        return f"{len(places)} {name}s ({places[0]}, {places[1]}, … {places[-1]})"
    return f"{name}s {', '.join(map(str, places[:-1]))} and {places[-1]}"


def _ratio(speed: float) -> str:
    return "half the speed" if abs(speed - 0.5) <= _HALF else f"{speed:.0%} of the speed"
