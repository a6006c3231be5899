"""What each data rank keeps of a weight under ZeRO: rows of it, so that everything kept is still boxes of tensors.

    level    gradients of a step    optimizer state    weights            sent in a step, beside level 0's all-reduce
    0        whole                  whole              whole
    1        whole                  rows               whole              reduce-scatter; all-gather of new weights
    2        rows                   rows               whole              the same, gradients at every microbatch
    3        rows                   rows               rows               the same, and all-gathers of each layer in use

Rows are shared out evenly along dim 0 of the slice that a tensor rank holds. Where tensor ranks hold some elements in
common, each in another place of its slice, their rows would not be the same ones: such a weight is shared out along
another dim, and one that has no other is kept whole by the first data rank. So those over whom a gradient is summed
later always keep the same elements of it. Under a parameter server those that serve keep as under level 1, among
themselves (`serving`).

Source of the levels: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models" (2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from plait.layers.layer import Dim
from plait.plans.holdings import Held, Piece
from plait.plans.plan import Plan
from plait.sharding.boxes import Interval, copies, shares

__all__ = ["displaced", "kept", "kept_piece", "kept_weights", "longest_parts"]


def displaced(held: Held, plan: Plan) -> bool:
    """Whether tensor ranks hold some elements of it in common, each in another place of its slice."""
    return any(copies(dim, plan.tensor_shares) for dim in held.weight.dims)


def kept_piece(held: Held, plan: Plan, data_rank: int) -> Piece:
    """The elements of a local weight that a data rank keeps; all of them where nothing is shared out."""
    if plan.sharding_level == 0:
        return held.whole
    name = held.weight.name
    keepers = plan.keepers
    if data_rank not in keepers:
        return Piece(name=name, dim=0, start=0, stop=0)
    dim = _kept_dim(held.weight.dims, plan.tensor_shares)
    start, stop = _part(held.shape[dim or 0], len(keepers), dim is not None, data_rank - keepers.start)
    return Piece(name=name, dim=dim or 0, start=start, stop=stop)


@lru_cache(maxsize=16384)
def _kept_dim(dims: tuple[Dim, ...], tensor_shares: tuple[float, ...]) -> int | None:
    """Of a weight of these dims that along which it is shared out; None where there is none."""
    undivided = (number for number, dim in enumerate(dims) if not copies(dim, tensor_shares))
    return next(undivided, None)


@lru_cache(maxsize=16384)
def _part(size: int, keepers: int, divided: bool, number: int) -> Interval:
    """What the keeper of that number has of `size` rows; where they are not divided, the first one has all."""
    parts = (1,) * keepers if divided else (1, *(0,) * (keepers - 1))
    return shares(size, parts)[number]


def kept(held: Held, plan: Plan, data_rank: int) -> Held:
    """The same weight as far as a data rank keeps it."""
    piece = kept_piece(held, plan, data_rank)
    intervals = list(held.intervals)
    intervals[piece.dim] = tuple(_within(intervals[piece.dim], piece.start, piece.stop)) or ((0, 0),)
    return Held(weight=held.weight, intervals=tuple(intervals), turn=held.turn)


def kept_weights(held: Sequence[Held], plan: Plan, data_rank: int) -> tuple[Held, ...]:
    """Of each weight what a data rank keeps, in the same order; those of which it keeps nothing, too."""
    return tuple(kept(one, plan, data_rank) for one in held)


def longest_parts(held: Sequence[Held], plan: Plan) -> dict[str, int]:
    """By weight the most elements that a data rank keeps of it: so long is each part of a message that shares it out,
    or puts it together. It is the first rank that keeps any: it has the longest part of each."""
    first = plan.keepers.start
    pieces = ((one, kept_piece(one, plan, first)) for one in held if one.elements)
    return {one.weight.name: (piece.stop - piece.start) * one.elements // one.shape[piece.dim] for one, piece in pieces}


def _within(intervals: Sequence[Interval], start: int, stop: int) -> Iterator[Interval]:
    """The local elements [start, stop) of intervals that are laid one after another, as intervals of the whole."""
    offset = 0
    for first, last in intervals:
        low, high = max(start, offset), min(stop, offset + last - first)
        if low < high:
            yield (first + low - offset, first + high - offset)
        offset += last - first
