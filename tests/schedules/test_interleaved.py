"""Interleaved 1F1B: the drawn staircase, a bubble v times smaller, and the activations that it costs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.errors import PlaitError
from plait.schedules import interleaved as module
from plait.schedules.interleaved import interleaved
from plait.schedules.timeline import simulate
from plait.schedules.validate import held_microbatches, validate
from tests.schedules.drawing import drawn, free, staircase


def test_the_docstring_draws_the_schedule():
    assert drawn(module.__doc__) == staircase(interleaved(2, 4, 2))


@pytest.mark.parametrize("ranks", range(1, 7))
@pytest.mark.parametrize("virtual", [2, 3, 4])
def test_every_shape_is_legal_whatever_p_divides(ranks, virtual):
    for microbatches in range(1, 14):
        validate(interleaved(ranks, microbatches, virtual))


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(2, 4))
def test_the_bubble_is_the_formula_s_v_th_part(p, groups, v):
    m = groups * p
    timeline = simulate(interleaved(p, m, v), lambda action: {"F": 1.0, "B": 2.0}[action.kind], free, waits=False)
    assert timeline.step_seconds == (m * v + p - 1) * 3.0
    assert timeline.bubble_fraction == pytest.approx(((p - 1) / v) / (m + (p - 1) / v), abs=1e-12)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(2, 4), st.integers(2, 4))
def test_the_first_rank_holds_what_the_paper_says(p, groups, v):
    """1 + (p - 1) / (p v) times 1F1B's p microbatches of v stages (Korthikanti et al. 2022)."""
    held = held_microbatches(interleaved(p, groups * p, v))
    assert held[0] == p * v + p - 1
    assert held == tuple((v - 1) * p + 2 * (p - 1 - rank) + 1 for rank in range(p))


def test_stages_follow_each_other_around_the_ranks():
    assert interleaved(3, 3, 2).stage_rank == (0, 1, 2, 0, 1, 2)


def test_nothing_is_sent_where_one_rank_has_all_stages():
    assert all(len(action.kind) == 1 for step in interleaved(1, 3, 3).programs[0] for action in step)


@pytest.mark.parametrize("numbers", [(0, 1, 2), (1, 0, 2), (2, 2, 1)])
def test_numbers_that_can_t_be(numbers):
    with pytest.raises(PlaitError, match="needs 1 rank, 1 microbatch and 2 stages a rank at least"):
        interleaved(*numbers)
