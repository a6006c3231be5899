"""What is performed has been checked: an unsound list never leaves `checked`, whoever built it."""

from __future__ import annotations

import pytest

from plait.errors import IllegalSchedule, PlaitError
from plait.schedules import checked
from plait.schedules.checked import evaluation_schedule, training_schedule
from plait.schedules.forward_only import forward_only
from plait.schedules.gpipe import gpipe
from plait.schedules.one_f_one_b import one_f_one_b


@pytest.fixture(autouse=True)
def forgotten():
    training_schedule.cache_clear()
    yield
    training_schedule.cache_clear()


def test_it_is_the_list_that_was_built():
    assert training_schedule("1f1b", 4, 6) == one_f_one_b(4, 6)
    assert training_schedule("gpipe", 2, 3) == gpipe(2, 3)
    assert evaluation_schedule("1f1b", 3, 5) == forward_only(range(3), 5)
    assert training_schedule("1f1b", 4, 6) is training_schedule("1f1b", 4, 6)


def test_a_list_without_backwards_does_not_train(monkeypatch):
    monkeypatch.setattr(
        checked,
        "build_schedule",
        lambda kind, stages, microbatches, virtual_stages: forward_only(range(stages), microbatches),
    )
    with pytest.raises(IllegalSchedule):
        training_schedule("1f1b", 2, 2)


def test_an_unknown_name_is_refused():
    with pytest.raises(PlaitError, match="no schedule"):
        training_schedule("zigzag", 2, 2)
