"""Slices become whole tensors again, copies are laid side by side, and whatever is missing or misshapen is noticed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.sharding.boxes import shares
from plait.sharding.mesh_shape import MeshShape
from plait.verification.compare import assembled, differing_copies, largest, largest_difference
from plait.verification.trace import Entry, RankTrace

WEIGHT = Entry(1, "weight", "w")
WHOLE = np.arange(40.0).reshape(8, 5)


def rank(array, *intervals, entry=WEIGHT) -> RankTrace:
    return RankTrace(tensors={entry: np.asarray(array)}, intervals={entry.owner: intervals} if intervals else {})


def columns(*pieces) -> RankTrace:
    """A rank that holds all rows of these columns."""
    array = np.concatenate([WHOLE[:, start:stop] for start, stop in pieces], axis=1)
    return rank(array, ((0, 8),), pieces)


@given(st.lists(st.floats(0.1, 9), min_size=1, max_size=5))
def test_slices_make_the_whole(weights):
    ranks = [rank(WHOLE[start:stop], ((start, stop),), ((0, 5),)) for start, stop in shares(8, tuple(weights))]
    assert np.array_equal(assembled(ranks)[WEIGHT], WHOLE)


def test_a_rank_may_hold_several_intervals():
    ranks = [columns((0, 1), (3, 4)), columns((1, 3), (4, 5))]
    assert np.array_equal(assembled(ranks)[WEIGHT], WHOLE)


def test_what_nobody_holds_entirely_is_left_out():
    assert assembled([columns((0, 2)), columns((3, 5))]) == {}


def test_what_is_misshapen_is_left_out():
    assert assembled([rank(WHOLE[:, :2], ((0, 8),), ((0, 3),))]) == {}


def test_numbers_without_a_place_are_whole():
    loss = Entry(1, "loss", "loss")
    assert assembled([rank(0.5, entry=loss), rank(0.5, entry=loss)]) == {loss: 0.5}


def test_clipped_gradients_become_their_norm():
    ranks = [rank([3.0], ((0, 1),), entry=Entry(2, "gradient", "w/clipped"))]
    ranks += [rank([4.0], ((0, 1),), entry=Entry(2, "gradient", "v/clipped"))]
    assert assembled(ranks) == {Entry(2, "norm", "norm/clipped"): 5.0}


def test_copies_that_agree_are_not_mentioned():
    assert differing_copies([columns((0, 3)), columns((2, 5))], MeshShape(tensor=2)) == {}


@pytest.mark.parametrize("axis", ["tensor", "data", "pipeline"])
def test_copies_that_differ_are_found_along_their_axis(axis):
    one, other = columns((0, 3)), columns((2, 5))
    other.tensors[WEIGHT][4, 0] += 1e-13  # column 2, which both hold
    assert differing_copies([one, other], MeshShape(**{axis: 2}))[WEIGHT].axes == (axis,)


def test_what_only_one_holds_is_no_copy():
    one, other = columns((0, 3)), columns((2, 5))
    other.tensors[WEIGHT][4, 1:] += 1
    one.tensors[WEIGHT][:, :2] -= 1
    assert differing_copies([one, other], MeshShape(tensor=2)) == {}


def test_only_ranks_of_one_axis_are_laid_side_by_side():
    """Ranks 0 and 3 of a 2 × 2 mesh differ from 1 and 2: along both axes, whichever way one looks."""
    ranks = [rank([float(place in (0, 3))], ((0, 1),)) for place in range(4)]
    assert set(differing_copies(ranks, MeshShape(data=2, tensor=2))[WEIGHT].axes) == {"data", "tensor"}
    rows = [rank([float(place >= 2)], ((0, 1),)) for place in range(4)]
    assert {e: parted.axes for e, parted in differing_copies(rows, MeshShape(data=2, tensor=2)).items()} == {
        WEIGHT: ("data",)
    }


def test_copies_that_are_not_a_number_alike_are_equal():
    assert differing_copies([rank([np.nan]), rank([np.nan])], MeshShape(data=2)) == {}
    assert differing_copies([rank([np.nan]), rank([1.0])], MeshShape(data=2)) == {WEIGHT: (("data",), np.inf)}


def test_differences():
    assert largest_difference(WHOLE, WHOLE) == 0
    assert largest_difference(WHOLE, WHOLE + 0.5, WHOLE - 2) == 2
    assert largest_difference(WHOLE, WHOLE.T) == np.inf
    assert largest_difference(np.array([np.nan, np.inf]), np.array([np.nan, np.inf])) == 0
    assert largest_difference(np.array([1.0]), np.array([np.nan])) == np.inf
    assert largest(np.empty(0)) == 0


def test_a_difference_is_what_the_reference_s_dtype_knows():
    assert largest_difference(np.array(0.1, dtype=np.float32), np.array(0.1)) == 0
