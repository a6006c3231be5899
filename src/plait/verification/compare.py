"""Ranks' slices put together again, their copies laid side by side, and two whole runs measured against each other.

    rank 0   [ 0 1 2 ]                  whole           [ 0 1 2 3 4 ]
    rank 1         [ 2 3 4 ]            copies of 2     differ along "tensor", or not

Arrays only: it knows neither models nor torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from plait.sharding.mesh_shape import AXES, MeshShape
from plait.verification.trace import Array, Entry, RankTrace, Trace

__all__ = ["Parted", "assembled", "differing_copies", "largest", "largest_difference"]


def assembled(ranks: Sequence[RankTrace]) -> Trace:
    """The whole tensors. One that the ranks together don't hold entirely is left out.

    In place of the clipped gradients stands their norm.
    """
    boxes: dict[Entry, list[tuple[tuple[Array, ...], Array]]] = {}
    for rank in ranks:
        for entry, array in rank.tensors.items():
            boxes.setdefault(entry, []).append((rank.box(entry), array))
    whole: Trace = {}
    squares: dict[int, float] = {}
    for entry, pieces in boxes.items():
        array = _put_together(pieces)
        if entry.kind == "gradient" and entry.name.endswith("/clipped"):
            squares[entry.step] = squares.get(entry.step, 0.0) + (np.nan if array is None else _square(array))
        elif array is not None:
            whole[entry] = array
    clipped = {Entry(step, "norm", "norm/clipped"): np.sqrt(np.array(square)) for step, square in squares.items()}
    return {**whole, **clipped}


def _put_together(pieces: Sequence[tuple[tuple[Array, ...], Array]]) -> Array | None:
    """One array from its boxes (the last copy of an element counts), None where something is missing or misshapen."""
    if any(array.shape != tuple(map(len, box)) for box, array in pieces):
        return None
    shape = tuple(max(int(box[dim].max(initial=-1)) for box, _ in pieces) + 1 for dim in range(pieces[0][1].ndim))
    whole = np.zeros(shape, dtype=pieces[0][1].dtype)
    there = np.zeros(shape, dtype=bool)
    for box, array in pieces:
        whole[np.ix_(*box)] = array
        there[np.ix_(*box)] = True
    return whole if there.all() else None


def _square(array: Array) -> float:
    return float(np.square(array, dtype=np.float64).sum())


class Parted(NamedTuple):
    """The axes along which copies of one element differ, and by how much at most."""

    axes: tuple[str, ...]
    by: float


def differing_copies(ranks: Sequence[RankTrace], mesh: MeshShape) -> dict[Entry, Parted]:
    """The tensors of which two ranks hold unequal copies of one element."""
    found: dict[Entry, Parted] = {}
    for axis in AXES:
        apart: dict[Entry, float] = {}
        for one, other in (pair for group in mesh.groups(axis) for pair in combinations(group, 2)):
            for entry, by in _unequal(ranks[one], ranks[other]):
                apart[entry] = max(by, apart.get(entry, 0.0))
        for entry, by in apart.items():
            before = found.get(entry, Parted((), 0.0))
            found[entry] = Parted((*before.axes, axis), max(by, before.by))
    return found


def _unequal(one: RankTrace, other: RankTrace) -> Iterator[tuple[Entry, float]]:
    for entry, array in one.tensors.items():
        copy = other.tensors.get(entry)
        if copy is not None:
            if one.intervals_of(entry) != other.intervals_of(entry):
                array, copy = _overlap(one.box(entry), array, other.box(entry), copy)
            if not np.array_equal(array, copy, equal_nan=True):
                yield entry, largest_difference(array, copy)


def _overlap(box: tuple[Array, ...], array: Array, other_box: tuple[Array, ...], other: Array) -> tuple[Array, Array]:
    """Those elements of two boxes' arrays that are the same elements of the whole."""
    common = [
        np.intersect1d(mine, theirs, return_indices=True)[1:] for mine, theirs in zip(box, other_box, strict=True)
    ]
    return array[np.ix_(*(mine for mine, _ in common))], other[np.ix_(*(theirs for _, theirs in common))]


def largest(array: Array) -> float:
    """The largest magnitude; 0 for an empty array."""
    return float(np.abs(array).max(initial=0.0))


def largest_difference(reference: Array, *others: Array) -> float:
    """The largest distance of any element of `others` from the reference's, as the reference's dtype knows it.

    An array of another shape is infinitely far, and so is NaN from a number.
    """
    found = 0.0
    for other in others:
        if other.shape != reference.shape:
            return np.inf
        as_known = other.astype(reference.dtype)
        equal = (as_known == reference) | (np.isnan(as_known) & np.isnan(reference))
        apart = np.abs(as_known[~equal].astype(np.float64) - reference[~equal].astype(np.float64))
        found = max(found, float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0)))
    return found
