"""1F1B: the drawn staircase, GPipe's bubble, and the memory it saves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.schedules import one_f_one_b as module
from plait.schedules.one_f_one_b import one_f_one_b
from plait.schedules.timeline import simulate
from plait.schedules.validate import held_microbatches, validate
from tests.schedules.drawing import drawn, free, staircase


def test_the_docstring_draws_the_schedule():
    assert drawn(module.__doc__) == staircase(one_f_one_b(4, 6))


@pytest.mark.parametrize("stages", range(1, 9))
def test_every_shape_is_legal(stages):
    for microbatches in range(1, 13):
        validate(one_f_one_b(stages, microbatches), limit=[min(stages - i, microbatches) for i in range(stages)])


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(1, 12), st.integers(1, 9), st.integers(1, 9))
def test_the_bubble_is_the_formula(p, m, forward, backward):
    timeline = simulate(one_f_one_b(p, m), lambda action: float({"F": forward, "B": backward}[action.kind]), free)
    assert timeline.step_seconds == (m + p - 1) * (forward + backward)
    assert timeline.bubble_fraction == (p - 1) / (m + p - 1)


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(1, 12))
def test_a_rank_holds_no_more_than_its_distance_to_the_end(p, m):
    assert held_microbatches(one_f_one_b(p, m)) == tuple(min(p - i, m) for i in range(p))


def test_in_the_steady_state_what_crosses_is_offered_together():
    fused = {"+".join(a.kind for a in step) for step in one_f_one_b(2, 8).programs[0][2:-2] if len(step) > 1}
    assert fused == {"SEND_F+RECV_B"}
    fused = {"+".join(a.kind for a in step) for step in one_f_one_b(2, 8).programs[1] if len(step) > 1}
    assert fused == {"SEND_B+RECV_F"}
