"""What each rank holds under a plan: its stages' layers, and of each weight its intervals along every dim.

It is asked by the planner (bytes), by the runtime (which slice to draw, load and train) and by verify (how to put
slices together again), so that the three can't disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from math import prod

from plait.layers.layer import Layer, Weight
from plait.plans.plan import Plan
from plait.sharding.boxes import Interval, copies, intervals, shares
from plait.sharding.placement import Shard
from plait.sharding.rules import weight_placement

__all__ = [
    "Box",
    "Held",
    "Piece",
    "held_weights",
    "owned_boxes",
    "owned_pieces",
    "positions_held",
    "rank_layers",
    "rank_weights",
    "stage_layers",
    "stages_weights",
    "tied_places",
]


@dataclass(frozen=True, kw_only=True)
class Held:
    """A weight as one rank holds it: for each dim its intervals of the global tensor, laid one after another. `turn`:
    which of the rank's stages is the first that has it."""

    weight: Weight
    intervals: tuple[tuple[Interval, ...], ...]
    turn: int = 0

    @cached_property  # the planner asks a million times
    def shape(self) -> tuple[int, ...]:
        """The local shape."""
        return tuple(sum(stop - start for start, stop in pieces) for pieces in self.intervals)

    @cached_property
    def elements(self) -> int:
        """Elements of the local tensor."""
        return prod(self.shape)

    @cached_property
    def whole(self) -> Piece:
        """All of it."""
        return Piece(name=self.weight.name, dim=0, start=0, stop=self.shape[0])

    def local_range(self, dim: int, start: int, stop: int) -> Interval:
        """Where the global elements [start, stop) of `dim` lie in the local tensor; one interval must contain them."""
        offset = 0
        for first, last in self.intervals[dim]:
            if first <= start and stop <= last:
                return (offset + start - first, offset + stop - first)
            offset += last - first
        raise ValueError(f"{self.weight.name}: elements {start} to {stop} of dim {dim} are not held here")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Elements [start, stop) along `dim` of a local tensor; all of the other dims."""

    name: str
    dim: int
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Box:
    """The elements `local` of a local tensor are the elements `whole` of the global one; an interval a dim of each."""

    name: str
    local: tuple[Interval, ...]
    whole: tuple[Interval, ...]


def stage_layers(layers: Sequence[Layer], stages: Sequence[int]) -> tuple[tuple[Layer, ...], ...]:
    """The layers of each stage: `stages` counts blocks; the embedding joins the first stage and the head the last."""
    embedding, *blocks, head = layers
    cuts = [sum(stages[:number]) for number in range(len(stages) + 1)]
    found = [list(blocks[start:stop]) for start, stop in pairwise(cuts)]
    found[0].insert(0, embedding)
    found[-1].append(head)
    return tuple(tuple(stage) for stage in found)


def rank_layers(layers: Sequence[Layer], plan: Plan, place: int) -> tuple[tuple[Layer, ...], ...]:
    """The layers at a place along the pipeline axis: of each of its stages, in forward order."""
    stages = stage_layers(layers, plan.stages)
    return tuple(stages[stage] for stage in plan.stages_at(place))


def rank_weights(layers: Sequence[Layer], plan: Plan, place: int, tensor_rank: int) -> tuple[Held, ...]:
    """The weights of all stages at a place along the pipeline axis, each identity once, in forward order."""
    return stages_weights(rank_layers(layers, plan, place), plan, tensor_rank)


def stages_weights(stages: Iterable[Sequence[Layer]], plan: Plan, tensor_rank: int) -> tuple[Held, ...]:
    """The same of these stages of a rank."""
    found: dict[str, Held] = {}
    for turn, stage in enumerate(stages):
        for held in held_weights(stage, plan, tensor_rank):
            first = Held(weight=held.weight, intervals=held.intervals, turn=turn)
            found.setdefault(held.weight.name, first)
    return tuple(found.values())


def held_weights(layers: Sequence[Layer], plan: Plan, tensor_rank: int) -> tuple[Held, ...]:
    """The weights of `layers` as tensor rank `tensor_rank` holds them, each identity once, in forward order."""
    unique: dict[str, Weight] = {}
    for weight in (weight for layer in layers for weight in layer.weights):
        unique.setdefault(weight.name, weight)
    return tuple(
        Held(weight=weight, intervals=tuple(intervals(dim, plan.tensor_shares, tensor_rank) for dim in weight.dims))
        for weight in unique.values()
    )


def positions_held(plan: Plan, tensor_rank: int, length: int) -> Interval:
    """Which of `length` positions of the residual stream a tensor rank holds: its share where the sequence is split."""
    return shares(length, (1,) * plan.tensor)[tensor_rank] if plan.sequence_parallel else (0, length)


def tied_places(layers: Sequence[Layer], plan: Plan) -> dict[str, tuple[int, ...]]:
    """The weights that live at several places along the pipeline axis, with those: their gradients are summed over
    them. What several stages of one rank share lives there once."""
    places: dict[str, set[int]] = {}
    for place, members in zip(plan.stage_rank, stage_layers(layers, plan.stages), strict=True):
        for name in {weight.name for layer in members for weight in layer.weights}:
            places.setdefault(name, set()).add(place)
    return {name: tuple(sorted(found)) for name, found in places.items() if len(found) > 1}


def owned_pieces(held: Held, plan: Plan, tensor_rank: int) -> tuple[Piece, ...]:
    """The pieces of a local tensor that this tensor rank counts, so that over the axis every element counts once."""
    name, placement = held.weight.name, weight_placement(held.weight)
    if not held.elements:
        return ()
    if not isinstance(placement, Shard):
        whole = Piece(name=name, dim=0, start=0, stop=held.shape[0])
        return (whole,) if tensor_rank == 0 else ()
    dim = placement.dim
    foreign = [
        held.local_range(dim, copy.start, copy.stop)
        for copy in copies(held.weight.dims[dim], plan.tensor_shares)
        if tensor_rank in copy.holders and copy.holders[0] != tensor_rank
    ]
    edges = [0, *(edge for interval in foreign for edge in interval), held.shape[dim]]
    kept = zip(edges[::2], edges[1::2], strict=True)
    return tuple(Piece(name=name, dim=dim, start=start, stop=stop) for start, stop in kept if start < stop)


def owned_boxes(held: Held, plan: Plan, tensor_rank: int) -> tuple[Box, ...]:
    """The owned pieces of a local tensor with their places in the global tensor: together, every element once."""
    return tuple(
        Box(name=piece.name, local=tuple(local for local, _ in box), whole=tuple(whole for _, whole in box))
        for piece in owned_pieces(held, plan, tensor_rank)
        for box in product(*(_places(held, dim, piece) for dim in range(len(held.shape))))
    )


def _places(held: Held, dim: int, piece: Piece) -> list[tuple[Interval, Interval]]:
    """A dim's intervals of the local tensor, as far as they lie within a piece, with those of the global one."""
    low, high = (piece.start, piece.stop) if dim == piece.dim else (0, held.shape[dim])
    found: list[tuple[Interval, Interval]] = []
    offset = 0
    for first, last in held.intervals[dim]:
        start, stop = max(low, offset), min(high, offset + last - first)
        if start < stop:
            found.append(((start, stop), (first + start - offset, first + stop - offset)))
        offset += last - first
    return found
