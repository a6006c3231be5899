"""Boxes of a tensor: where two meet, and whether some of them tile the whole.

    (5, 6) in four boxes        a a a b b b
                                a a a b b b        every element lies in exactly one box, or there is a fault
                                c c c c c c        to name: a box outside, two that overlap, elements in none
                                d d d d d d
                                d d d d d d

A box is one half-open interval a dim. It knows numbers only: no tensor, no file, no rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from plait.sharding.boxes import Interval

__all__ = ["Region", "meet", "sizes", "tiling_fault"]

Region = tuple[Interval, ...]


def sizes(box: Region) -> tuple[int, ...]:
    """The shape of a box."""
    return tuple(stop - start for start, stop in box)


def meet(one: Region, other: Region) -> Region | None:
    """What two boxes of one tensor share, if anything."""
    shared = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))
    return shared if all(start < stop for start, stop in shared) else None


def tiling_fault(shape: Sequence[int], boxes: Sequence[Region]) -> str:
    """Why `boxes` do not fill a tensor of `shape` with every element exactly once; empty where they do."""
    for box in boxes:
        if len(box) != len(shape) or any(not 0 <= a < b <= size for (a, b), size in zip(box, shape, strict=True)):
            return f"the box {_words(box)} does not lie within the shape {tuple(shape)}"
    overlap = _overlap(boxes)
    if overlap:
        return f"the boxes {_words(overlap[0])} and {_words(overlap[1])} overlap"
    stored, wanted = sum(prod(sizes(box)) for box in boxes), prod(shape)
    return "" if stored == wanted else f"the boxes hold {stored} of {wanted} elements"


def _overlap(boxes: Sequence[Region]) -> tuple[Region, Region] | None:
    """The first two boxes that share an element: a sweep along the dim that is cut most."""
    if len(boxes) < 2 or not boxes[0]:
        return (boxes[0], boxes[1]) if len(boxes) > 1 else None  # a scalar has one element alone
    dim = max(range(len(boxes[0])), key=lambda number: len({box[number][0] for box in boxes}))
    open_boxes: list[Region] = []
    for box in sorted(boxes, key=lambda box: box[dim][0]):
        open_boxes = [earlier for earlier in open_boxes if earlier[dim][1] > box[dim][0]]
        for earlier in open_boxes:
            if meet(earlier, box):
                return earlier, box
        open_boxes.append(box)
    return None


def _words(box: Region) -> str:
    return "[" + ", ".join(f"{start}:{stop}" for start, stop in box) + "]"
