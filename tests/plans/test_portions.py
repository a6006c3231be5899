"""Portions of steps: each given out and applied once; the bound holds, and nobody waits for what can't come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import PlaitError
from plait.plans.portions import Portions


@given(st.integers(1, 4), st.integers(-1, 3), st.randoms(use_true_random=False))
def test_any_order_of_workers_ends_within_the_bound(a_step, staleness, chance):
    portions = Portions(a_step, staleness)
    limit = 6 * a_step
    waiting: list[int] = []
    begun: list[int] = []
    done: set[int] = set()
    while len(done) < limit:
        if len(waiting) + len(begun) < a_step and (portion := portions.give(limit)) is not None:
            waiting.append(portion)
        ready = [portion for portion in waiting if portions.may_begin(portion)]
        for portion in ready:
            missing = sum(all(one in done for one in range(step * a_step, (step + 1) * a_step)) is False
                          for step in range(portion // a_step))  # fmt: skip
            assert staleness < 0 or missing <= staleness
            waiting.remove(portion)
            begun.append(portion)
        assert begun  # somebody works
        if chance.random() < 0.7:
            portion = begun.pop(chance.randrange(len(begun)))
            portions.apply(portion)
            done.add(portion)
    assert portions.complete == limit
    assert portions.give(limit) is None


def test_the_bound_is_that_of_the_drawing():
    portions = Portions(3, 1)
    assert [portions.give(9) for _ in range(10)] == [*range(9), None]
    for portion in (0, 1, 2, 3, 5):
        portions.apply(portion)
    assert portions.complete == 4
    assert [portions.may_begin(portion) for portion in (6, 8, 9)] == [True, True, False]
    assert Portions(3, -1).may_begin(1 << 40)
    assert not Portions(3, 0).may_begin(3)


@pytest.mark.parametrize("portion", [0, 2])
def test_a_portion_that_comes_twice_is_refused(portion):
    portions = Portions(2, 0)
    for one in (0, 2):
        portions.apply(one)
    with pytest.raises(PlaitError, match=f"portion {portion} has come twice"):
        portions.apply(portion)
