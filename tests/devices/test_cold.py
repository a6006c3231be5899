"""Operands in turn: as many sets as a cache doesn't hold, one after another, and results that stay a while."""

from __future__ import annotations

from itertools import pairwise

import torch

from plait.devices.cold import COLD_BYTES, Pool, Results, backward_in_turn, forward_in_turn, sets_of

CPU = torch.device("cpu")


def test_small_operands_have_many_sets_and_large_ones_one():
    assert [sets_of(COLD_BYTES // count) for count in (1, 2, 7)] == [1, 2, 7]
    assert sets_of(10 * COLD_BYTES) == 1
    assert sets_of(1) == sets_of(0) == 64


def test_each_call_takes_the_next_set_and_its_result_stays():
    called: list[int] = []
    results = Results()

    def variant(number: int) -> torch.Tensor:
        called.append(number)
        return torch.zeros(COLD_BYTES // 4 // 4)  # a quarter of what stays

    case = forward_in_turn([lambda: variant(0), lambda: variant(1), lambda: variant(2)], results)
    for _ in range(7):
        case()
    assert called == [0, 1, 2, 0, 1, 2, 0]
    assert sum(one.nbytes for one in results._kept) == COLD_BYTES


def test_backward_takes_graphs_in_turn_and_adds_nothing_up():
    leaves = [torch.full((3,), float(number), requires_grad=True) for number in (1, 2)]
    asked: list[int] = []
    for number, leaf in enumerate(leaves):
        leaf.register_hook(lambda _, number=number: asked.append(number))
    case = backward_in_turn([((leaf**2).sum()[None], [leaf]) for leaf in leaves])
    for _ in range(3):
        case()
    assert asked == [0, 1, 0]
    assert all(leaf.grad is None for leaf in leaves)


def test_a_pool_s_rows_lie_behind_each_other_and_begin_again_at_its_end():
    pool = Pool(0, torch.float64, CPU)
    elements = COLD_BYTES // 8
    third = elements // 3 // 8 * 8
    found = [pool.rows(third + 5, 8) for _ in range(4)]  # 5 are no whole row
    assert {tuple(one.shape) for one in found} == {(third // 8, 8)}
    assert all(one.is_leaf and one.requires_grad for one in found)
    places = [one.data_ptr() for one in found]
    assert [after - before for before, after in pairwise(places)] == [8 * third, 8 * third, -16 * third]
