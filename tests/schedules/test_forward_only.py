"""The forward staircase, legal where nothing goes backward, and holding nothing."""

from __future__ import annotations

import pytest

from plait.errors import IllegalSchedule, PlaitError
from plait.schedules import forward_only as module
from plait.schedules.forward_only import forward_only
from plait.schedules.validate import held_microbatches, validate
from tests.schedules.drawing import drawn, staircase


def test_the_docstring_draws_the_schedule():
    assert drawn(module.__doc__) == staircase(forward_only(range(3), 4))


@pytest.mark.parametrize("stages", range(1, 9))
def test_every_shape_is_legal_and_holds_one_microbatch_while_it_runs(stages):
    for microbatches in range(1, 13):
        schedule = forward_only(range(stages), microbatches)
        validate(schedule, training=False)
        assert held_microbatches(schedule) == (1,) * stages


def test_it_does_not_train():
    with pytest.raises(IllegalSchedule, match="microbatch 0 is lost: stage 0 of 2 never goes backward on it"):
        validate(forward_only(range(2), 2))


def test_nothing_to_schedule_is_refused():
    with pytest.raises(PlaitError, match="at least 1 stage"):
        forward_only(range(0), 1)
