"""Boxes that fill a tensor, and those that don't."""

from __future__ import annotations

from itertools import pairwise, product
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.checkpoint.tiling import meet, sizes, tiling_fault


@st.composite
def grids(draw: st.DrawFn):
    """A shape, and the boxes of a grid over it."""
    shape = draw(st.lists(st.integers(1, 6), min_size=0, max_size=3))
    edges = [sorted({0, size, *draw(st.sets(st.integers(0, size)))}) for size in shape]
    boxes = [tuple(box) for box in product(*(list(pairwise(dim)) for dim in edges))]
    return tuple(shape), draw(st.permutations(boxes))


@given(grids())
def test_a_grid_tiles(grid) -> None:
    assert tiling_fault(*grid) == ""


def test_so_does_what_is_no_grid() -> None:
    assert tiling_fault((5, 6), [((0, 2), (0, 3)), ((2, 5), (0, 6)), ((0, 2), (3, 6))]) == ""


@given(grids(), st.data())
def test_no_box_may_be_missing_twice_there_or_moved(grid, data) -> None:
    shape, boxes = grid
    index = data.draw(st.integers(0, len(boxes) - 1))
    assert "elements" in tiling_fault(shape, [*boxes[:index], *boxes[index + 1 :]])
    assert "overlap" in tiling_fault(shape, [*boxes, boxes[index]])
    if shape:
        moved = tuple((start + 1, stop + 1) for start, stop in boxes[index])
        assert tiling_fault(shape, [*boxes[:index], moved, *boxes[index + 1 :]]) != ""


@pytest.mark.parametrize(
    "box", [((0, 3),), ((0, 3), (0, 7)), ((-1, 3), (0, 6)), ((2, 2), (0, 6)), ((3, 2), (0, 6)), ((0, 6), (0, 6))]
)
def test_a_box_lies_within(box) -> None:
    assert "does not lie within the shape (5, 6)" in tiling_fault((5, 6), [box])


def test_thousands_of_boxes_are_checked_at_once() -> None:
    rows = [((row, row + 1), (0, 10**12)) for row in range(20_000)]
    assert tiling_fault((20_000, 10**12), rows) == ""
    columns = [((0, 10**12), (row, row + 1)) for row in range(20_000)]
    assert "overlap" in tiling_fault((10**12, 20_000), [*columns, columns[5]])


@given(grids(), grids())
def test_where_boxes_meet(one, other) -> None:
    shape, boxes = one
    assert all(meet(box, tuple((0, size) for size in shape)) == box for box in boxes)
    assert sum(prod(sizes(box)) for box in boxes) == prod(shape)
    assert all(meet(a, b) is None for a, b in pairwise(boxes))
