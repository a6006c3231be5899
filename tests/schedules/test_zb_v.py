"""ZB-V: the drawn staircase, a bubble of hardly more than its start, and 1F1B's activations."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.errors import PlaitError
from plait.schedules import zb_v as module
from plait.schedules.action import Action, Kind
from plait.schedules.timeline import simulate
from plait.schedules.validate import held_microbatches, validate
from plait.schedules.zb_h1 import zb_h1
from plait.schedules.zb_v import zb_v
from tests.schedules.drawing import drawn, free, staircase, unit


def test_the_docstring_draws_the_schedule():
    assert drawn(module.__doc__) == staircase(zb_v(2, 4))


@pytest.mark.parametrize("ranks", range(1, 9))
def test_every_shape_is_legal_and_holds_no_more_than_1f1b(ranks):
    for microbatches in (1, 2, 3, 5, 8, 13, 2 * ranks):
        validate(zb_v(ranks, microbatches), limit=[2 * min(ranks, microbatches)] * ranks)


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(0, 8))
def test_it_hardly_waits_once_it_has_begun(p, more):
    m = p + more
    seconds = simulate(zb_v(p, m), unit, free).step_seconds
    assert 6 * m + p - 1 <= seconds <= 6 * m + p + 4
    if p > 2:
        assert seconds < simulate(zb_h1(p, m), lambda _: 2.0, free).step_seconds, "of stages twice as large"


def test_the_ranks_of_a_v():
    schedule = zb_v(3, 2)
    assert schedule.stage_rank == (0, 1, 2, 2, 1, 0)
    actions = {action for program in schedule.programs for step in program for action in step}
    assert Action(1, Kind.SEND_F, 0) in actions
    assert Action(2, Kind.SEND_F, 0) not in actions, "the last rank turns around by itself"


def test_held_by_every_rank_alike():
    assert held_microbatches(zb_v(4, 8)) == (8, 8, 8, 8)


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0)])
def test_numbers_that_can_t_be(numbers):
    with pytest.raises(PlaitError, match="at least 1 rank and 1 microbatch"):
        zb_v(*numbers)
