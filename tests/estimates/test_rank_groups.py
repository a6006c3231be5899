"""Where groups stand: their arithmetic beside every rank of a stage, counted out one by one."""

from __future__ import annotations

from itertools import product

import pytest

from plait.estimates.rank_groups import Axis, rank_group
from tests.estimates.arranged import arranged

STAGES = [(1, 1, 8, 4), (2, 1, 4, 4), (2, 2, 2, 8), (8, 1, 8, 8), (4, 3, 2, 12), (2, 1, 1, 1), (3, 1, 4, 2)]


def members(axis: Axis, tensor: int, context: int, data: int, expert: int) -> set[frozenset[int]]:
    """All groups of a stage along an axis: ranks that differ in nothing but what the axis counts."""
    found: dict[object, set[int]] = {}
    for d, c, t in product(range(data), range(context), range(tensor)):
        rank = t + tensor * (c + context * d)
        keys: dict[Axis, object] = {
            "tensor": (c, d), "context": (t, d), "data": t, "expert": rank // expert, "copies": rank % expert,
        }  # fmt: skip
        found.setdefault(keys[axis], set()).add(rank)
    return {frozenset(group) for group in found.values()}


@pytest.mark.parametrize("sizes", STAGES)
@pytest.mark.parametrize("axis", ["tensor", "context", "data", "expert", "copies"])
def test_a_group_is_so_many_ranks_so_far_apart(axis: Axis, sizes: tuple[int, int, int, int]) -> None:
    tensor, context, data, expert = sizes
    plan = arranged(tensor=tensor, context=context, data=data, expert=expert, pipeline=3)
    ranks, stride = (int(column[0]) for column in rank_group(plan, axis))
    assert rank_group(plan, axis).span[0] == ranks * stride
    for group in members(axis, *sizes):
        assert sorted(group) == [min(group) + stride * place for place in range(ranks)]
