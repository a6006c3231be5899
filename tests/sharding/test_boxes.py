"""Slices cover what they cut, as evenly as it goes; copies are exactly the elements that several ranks hold."""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.layers.layer import Dim, Part
from plait.sharding.boxes import copies, intervals, local_size, shares, unit_range
from plait.sharding.rules import is_split
from tests.sharding.drawn import DIMS, EQUAL, WEIGHTS, parts

UNITS = st.integers(0, 60)


def sizes(found) -> list[int]:
    return [stop - start for start, stop in found]


# ---- shares ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "weights", "expected"),
    [
        (13, (1, 1, 1), [5, 4, 4]),
        (40, (1, 1, 1), [14, 13, 13]),
        (50257, (1,) * 4, [12565, 12564, 12564, 12564]),
        (5, (3, 1), [4, 1]),
        (5, (1, 3), [1, 4]),
        (8, (0.5, 1.5), [2, 6]),
        (3, (9, 1), [3, 0]),
        (0, (1, 1), [0, 0]),
    ],
)
def test_known_shares(units, weights, expected):
    assert sizes(shares(units, weights)) == expected


@given(UNITS, WEIGHTS)
def test_shares_lie_one_after_another_and_leave_nothing_out(units, weights):
    found = shares(units, weights)
    assert len(found) == len(weights)
    assert found[0][0] == 0
    assert found[-1][1] == units
    assert all(left[1] == right[0] for left, right in pairwise(found))
    assert min(sizes(found)) >= 0


@given(UNITS, WEIGHTS)
def test_a_share_is_what_is_due_rounded_up_or_down(units, weights):
    for size, weight in zip(sizes(shares(units, weights)), weights, strict=True):
        due = units * weight / sum(weights)
        assert floor(due - 1e-9) <= size <= ceil(due + 1e-9)


@given(UNITS, EQUAL)
def test_equal_shares_differ_by_one_and_the_first_are_the_largest(units, weights):
    found = sizes(shares(units, weights))
    assert max(found) - min(found) <= 1
    assert found == sorted(found, reverse=True)


@given(UNITS, WEIGHTS, st.sampled_from([2, 8, 0.5]))
def test_only_proportions_count(units, weights, factor):
    assert shares(units, weights) == shares(units, tuple(weight * factor for weight in weights))


@given(st.integers(1, 60), EQUAL)
def test_nobody_is_idle_where_there_is_a_unit_for_everybody(units, weights):
    assert (min(sizes(shares(units, weights))) > 0) == (units >= len(weights))


# ---- units of a part ------------------------------------------------------------------------------------------------


def query_heads(part: Part, weights, rank: int) -> range:
    return range(*shares(part.units * part.per_unit, weights)[rank])


@pytest.mark.parametrize(
    ("kv_heads", "queries", "ranks", "expected"),
    [
        (2, 2, 4, [(0, 1), (0, 1), (1, 2), (1, 2)]),
        (2, 4, 3, [(0, 1), (0, 2), (1, 2)]),
        (1, 7, 3, [(0, 1)] * 3),
        (4, 1, 2, [(0, 2), (2, 4)]),
    ],
)
def test_known_kv_heads(kv_heads, queries, ranks, expected):
    part = Part(index="kv_heads", units=kv_heads, per_unit=queries)
    assert [unit_range(part, (1,) * ranks, rank) for rank in range(ranks)] == expected


@given(parts(), WEIGHTS)
def test_a_rank_holds_the_units_that_its_queries_read_and_no_more(part, weights):
    for rank in range(len(weights)):
        held = set(range(*unit_range(part, weights, rank)))
        if is_split(part.index):
            assert held == {query // part.per_unit for query in query_heads(part, weights, rank)}
        else:
            assert held == set(range(part.units))


# ---- elements of a dim ----------------------------------------------------------------------------------------------


def elements(dim: Dim, weights, rank: int) -> list[int]:
    return [element for start, stop in intervals(dim, weights, rank) for element in range(start, stop)]


def test_fused_queries_keys_and_values_are_three_intervals():
    heads, groups = Part(index="heads", units=4, width=2), Part(index="kv_heads", units=2, width=2, per_unit=2)
    dim = Dim(parts=(heads, groups, groups))
    assert intervals(dim, (1, 1), 0) == ((0, 4), (8, 10), (12, 14))
    assert intervals(dim, (1, 1), 1) == ((4, 8), (10, 12), (14, 16))


@given(DIMS, WEIGHTS)
def test_intervals_are_in_order_one_a_part_within_it(dim, weights):
    edges = list(pairwise(accumulate((part.size for part in dim.parts), initial=0)))
    for rank in range(len(weights)):
        found = intervals(dim, weights, rank)
        assert len(found) == len(dim.parts)
        for (start, stop), (first, last) in zip(found, edges, strict=True):
            assert first <= start <= stop <= last
        assert local_size(dim, weights, rank) == len(elements(dim, weights, rank))


@given(DIMS, WEIGHTS)
def test_every_element_is_held(dim, weights):
    held = {element for rank in range(len(weights)) for element in elements(dim, weights, rank)}
    assert held == set(range(dim.size))


@given(DIMS, WEIGHTS)
def test_copies_are_the_split_elements_that_several_ranks_hold(dim, weights):
    split, offset = set(), 0
    for part in dim.parts:
        split |= set(range(offset, offset + part.size)) if is_split(part.index) else set()
        offset += part.size
    by_rank = [set(elements(dim, weights, rank)) for rank in range(len(weights))]
    holders = {e: tuple(rank for rank, held in enumerate(by_rank) if e in held) for e in split}
    found = {e: copy.holders for copy in copies(dim, weights) for e in range(copy.start, copy.stop)}
    assert found == {element: ranks for element, ranks in holders.items() if len(ranks) > 1}


@given(DIMS, WEIGHTS)
def test_copies_are_few_whole_pieces_in_order(dim, weights):
    found = copies(dim, weights)
    assert all(one.start < one.stop <= other.start for one, other in pairwise(found))
    if all(local_size(dim, weights, rank) for rank in range(len(weights))) and len(dim.parts) == 1:  # nobody is idle
        assert all(copy.holders == tuple(range(copy.holders[0], copy.holders[-1] + 1)) for copy in found)


@given(DIMS, WEIGHTS)
def test_sizes_and_copies_add_up(dim, weights):
    if all(is_split(part.index) for part in dim.parts):
        twice = sum((copy.stop - copy.start) * (len(copy.holders) - 1) for copy in copies(dim, weights))
        assert sum(local_size(dim, weights, rank) for rank in range(len(weights))) == dim.size + twice


def test_only_kv_heads_have_copies():
    heads, ffn = Part(index="heads", units=7, width=3), Part(index="ffn", units=11)
    assert copies(Dim(parts=(heads, ffn)), (1, 1, 1)) == ()
