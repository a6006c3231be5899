"""ZB-H1: the drawn staircase, the paper's bubble, and no more activations than 1F1B's first rank."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.errors import PlaitError
from plait.schedules import zb_h1 as module
from plait.schedules.timeline import simulate
from plait.schedules.validate import held_microbatches, validate
from plait.schedules.zb_h1 import zb_h1
from tests.schedules.drawing import drawn, free, staircase


def test_the_docstring_draws_the_schedule():
    assert drawn(module.__doc__) == staircase(zb_h1(4, 6))


@pytest.mark.parametrize("ranks", range(1, 9))
def test_every_shape_is_legal(ranks):
    for microbatches in range(1, 14):
        validate(zb_h1(ranks, microbatches), limit=[min(ranks, microbatches)] * ranks)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 8), st.integers(1, 4))
def test_the_bubble_is_the_paper_s(p, more, unit):
    """(p - 1) (F + I - W), where the three take equally long, as the paper has it."""
    m = p + more
    timeline = simulate(zb_h1(p, m), lambda _: float(unit), free)
    assert timeline.step_seconds == (3 * m + (p - 1)) * unit
    assert timeline.bubble_fraction == pytest.approx((p - 1) / (3 * m + p - 1), abs=1e-12)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 14))
def test_no_rank_holds_more_than_the_first_one_of_1f1b(p, m):
    assert held_microbatches(zb_h1(p, m)) == (min(p, m),) * p


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0)])
def test_numbers_that_can_t_be(numbers):
    with pytest.raises(PlaitError, match="at least 1 rank and 1 microbatch"):
        zb_h1(*numbers)
