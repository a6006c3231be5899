"""Which rows a data rank has: together the batch, in proportion to its share; and shares that suit unequal speeds."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.plans.plan import Plan
from plait.plans.rows import (
    balanced_shares,
    microbatches_of,
    rounds_of,
    row_counts,
    rows_of,
    sizes_of,
)


def plan(shares, microbatch=1):
    return Plan(data=len(shares), data_shares=tuple(shares), stages=(1,), microbatch=microbatch)


DEALT = st.tuples(
    st.builds(plan, st.lists(st.sampled_from([1, 2, 3, 0.5]), min_size=1, max_size=5), st.integers(1, 6)),
    st.integers(1, 40),
)


@given(DEALT)
def test_the_rows_of_all_ranks_are_the_batch(dealt):
    chosen, batch = dealt
    ranges = [rows_of(chosen, batch, rank) for rank in range(chosen.data)]
    assert [row for start, stop in ranges for row in range(start, stop)] == list(range(batch))
    assert row_counts(chosen, batch) == tuple(stop - start for start, stop in ranges)


@given(DEALT)
def test_microbatches_are_whole_but_for_the_last(dealt):
    chosen, batch = dealt
    found = [microbatches_of(chosen, batch, rank) for rank in range(chosen.data)]
    assert tuple(map(sum, found)) == row_counts(chosen, batch)
    for rank, sizes in enumerate(found):
        assert all(size == chosen.microbatch for size in sizes[:-1])
        assert all(0 < size <= chosen.microbatch for size in sizes)
        assert sizes_of(chosen, batch, rank) == {size: sizes.count(size) for size in sizes}
    assert rounds_of(chosen, batch) == max(map(len, found))


def test_an_example():
    chosen = plan((2, 1), microbatch=3)
    assert [rows_of(chosen, 11, rank) for rank in (0, 1)] == [(0, 7), (7, 11)]
    assert [microbatches_of(chosen, 11, rank) for rank in (0, 1)] == [(3, 3, 1), (3, 1)]


@given(st.lists(st.sampled_from([1.0, 2.0, 2.5, 7.0]), min_size=1, max_size=3), st.integers(0, 6))
def test_balanced_shares_make_the_slowest_rank_as_fast_as_can_be(speeds, more):
    batch = len(speeds) + more

    def slowest(counts):
        return max(count / speed for count, speed in zip(counts, speeds, strict=True))

    every = [counts for counts in product(range(1, batch + 1), repeat=len(speeds)) if sum(counts) == batch]
    found = balanced_shares(speeds, batch)
    assert found in every
    assert slowest(found) == min(map(slowest, every))
    assert row_counts(plan(found), batch) == found  # as `data_shares` they give those very rows


def test_equal_speeds_have_equal_shares():
    assert balanced_shares([3.0] * 4, 16) == (4, 4, 4, 4)


@pytest.mark.parametrize(("speeds", "batch"), [([], 4), ([1.0, 0.0], 4), ([1.0, -1.0], 4), ([1.0, 1.0], 1)])
def test_what_can_not_be_shared(speeds, batch):
    with pytest.raises(ValueError, match="sequence"):
        balanced_shares(speeds, batch)
