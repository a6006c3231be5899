"""A schedule that runs and fits is accepted, one that deadlocks or holds too much refused; what is held is counted."""

from __future__ import annotations

import pytest

from plait.errors import IllegalSchedule
from plait.schedules.action import Action
from plait.schedules.gpipe import gpipe
from plait.schedules.one_f_one_b import one_f_one_b
from plait.schedules.schedule import schedule_from_orders
from plait.schedules.validate import held_microbatches, validate
from tests.schedules.drawing import planted, unfused


def test_more_microbatches_than_the_limit():
    with pytest.raises(IllegalSchedule) as refused:
        validate(gpipe(2, 4), limit=[4, 3])
    message, text, marks = str(refused.value).splitlines()
    assert message == "microbatches held at once on rank 1: 4, above its limit of 3"
    assert text[marks.index("^") : marks.rindex("^") + 1] == "1F3", "the first step that holds too many"


def test_a_limit_for_each_rank():
    with pytest.raises(IllegalSchedule, match="a limit on held microbatches for each of 2 ranks, not 3"):
        validate(gpipe(2, 4), limit=[4, 4, 4])


def test_sends_that_wait_one_after_the_other_deadlock():
    schedule = one_f_one_b(2, 3)
    for rank in range(2):
        schedule = planted(schedule, rank, unfused)
    with pytest.raises(IllegalSchedule, match="deadlock: a send waits for its receive, nothing is buffered"):
        validate(schedule)


def test_activations_are_held_until_the_weights_have_gone_backward():
    orders = [[Action.parse(word) for word in ["0F0", "0I0", "0F1", "0I1", "0F2", "0W0", "0I2", "0W1", "0W2"]]]
    assert held_microbatches(schedule_from_orders("late", 3, orders)) == (3,)


def test_every_stage_of_a_rank_holds_its_own():
    words = ("0F0 1F0 0F1 1B0 1F1 0B0 1B1 0B1",)
    orders = [[Action.parse(word) for word in line.split()] for line in words]
    schedule = schedule_from_orders("two", 2, orders, stage_rank=(0, 0))
    validate(schedule, limit=[3])
    assert held_microbatches(schedule) == (3,)


def test_a_long_program_is_cut_in_the_drawing():
    schedule = planted(gpipe(1, 40), 0, lambda program: program[:-1])
    with pytest.raises(IllegalSchedule) as refused:
        validate(schedule)
    assert str(refused.value).endswith(" …")
    assert max(map(len, str(refused.value).splitlines())) < 125
