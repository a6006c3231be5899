"""The cut of the layers into stages is the best there is: checked against every cut."""

from __future__ import annotations

from itertools import accumulate, combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import PlaitError
from plait.planner.balance import balanced_stages

costs = st.integers(0, 20).map(float)  # whole numbers: sums are exact, so that ties are ties


def every_cut(blocks: int, stages: int) -> list[tuple[int, ...]]:
    edges = ((0, *cuts, blocks) for cuts in combinations(range(1, blocks), stages - 1))
    return [tuple(b - a for a, b in pairwise(edge)) for edge in edges]


@given(st.lists(costs, min_size=1, max_size=8), st.data(), costs, costs)
def test_no_other_cut_is_better(blocks, data, embedding, head):
    stages = data.draw(st.integers(1, len(blocks)))

    def order(sizes):
        cuts = [0, *accumulate(sizes)]
        found = [sum(blocks[start:stop]) for start, stop in pairwise(cuts)]
        found[0] += embedding
        found[-1] += head
        return max(found), sum(cost * cost for cost in found)

    chosen = balanced_stages(blocks, stages, embedding=embedding, head=head)
    assert sum(chosen) == len(blocks)
    assert min(chosen) >= 1
    assert order(chosen) == min(order(cut) for cut in every_cut(len(blocks), stages))


def test_a_heavy_head_takes_blocks_off_its_stage():
    assert balanced_stages([1.0] * 7, 2) == (4, 3)
    assert balanced_stages([1.0] * 7, 2, head=2.5) == (5, 2)


def test_what_the_slowest_stage_leaves_open_is_even():
    assert balanced_stages([3.0] * 7, 3) == (3, 2, 2)


@pytest.mark.parametrize("stages", [0, 4])
def test_a_stage_holds_at_least_one_layer(stages):
    with pytest.raises(PlaitError, match=f"3 layers can't stand on {stages} stages"):
        balanced_stages([1.0] * 3, stages)
