"""GPipe: the drawn staircase, its bubble, and what it holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.schedules import gpipe as module
from plait.schedules.gpipe import gpipe
from plait.schedules.timeline import simulate
from plait.schedules.validate import held_microbatches, validate
from tests.schedules.drawing import drawn, free, staircase


def test_the_docstring_draws_the_schedule():
    assert drawn(module.__doc__) == staircase(gpipe(4, 4))


@pytest.mark.parametrize("stages", range(1, 9))
def test_every_shape_is_legal(stages):
    for microbatches in range(1, 13):
        validate(gpipe(stages, microbatches), limit=[microbatches] * stages)


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(1, 12), st.integers(1, 9), st.integers(1, 9))
def test_the_bubble_is_the_formula(p, m, forward, backward):
    timeline = simulate(gpipe(p, m), lambda action: float({"F": forward, "B": backward}[action.kind]), free)
    assert timeline.step_seconds == (m + p - 1) * (forward + backward)
    assert timeline.bubble_fraction == (p - 1) / (m + p - 1)


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(1, 12))
def test_every_rank_holds_every_microbatch(p, m):
    assert held_microbatches(gpipe(p, m)) == (m,) * p


def test_gradients_are_summed_in_the_order_of_forward():
    computed = [str(a) for step in gpipe(1, 3).programs[0] for a in step]
    assert computed == ["0F0", "0F1", "0F2", "0B0", "0B1", "0B2"]
