"""Schedules go by the names of the contract; what is no schedule is refused."""

from __future__ import annotations

import pytest

from plait.errors import PlaitError
from plait.schedules.action import Kind
from plait.schedules.gpipe import gpipe
from plait.schedules.one_f_one_b import one_f_one_b
from plait.schedules.registry import BUILT, build_schedule, divides_backward, placement
from tests.schedules.drawing import VIRTUAL, built


def test_a_name_gives_its_schedule():
    assert build_schedule("gpipe", 3, 5) == gpipe(3, 5)
    assert build_schedule("1f1b", 3, 5) == one_f_one_b(3, 5)


@pytest.mark.parametrize("kind", BUILT)
def test_a_schedule_knows_its_name(kind):
    assert built(kind, 2, 2).kind == kind


@pytest.mark.parametrize("kind", BUILT)
def test_stages_stand_where_it_says(kind):
    for ranks in (1, 2, 3):
        assert built(kind, ranks, 2).stage_rank == placement(kind, ranks, VIRTUAL.get(kind, 1))


@pytest.mark.parametrize("kind", BUILT)
def test_it_says_whether_backward_is_divided(kind):
    kinds = {action.kind for program in built(kind, 2, 2).programs for step in program for action in step}
    assert divides_backward(kind) == (Kind.W in kinds)


@pytest.mark.parametrize(("kind", "wanted"), [("gpipe", 1), ("1f1b", 1), ("zb-h1", 1), ("zb-v", 2)])
def test_another_number_of_stages_a_rank_is_refused(kind, wanted):
    with pytest.raises(PlaitError, match=f'schedule = "{kind}" has virtual_stages = {wanted}, not {wanted + 1}'):
        build_schedule(kind, 2, 2, wanted + 1)


def test_interleaving_one_stage_a_rank_is_refused():
    with pytest.raises(PlaitError, match="2 stages a rank at least; here 2, 4 and 1"):
        build_schedule("interleaved", 2, 4, 1)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(PlaitError, match='"2f2b" is no schedule; built are: gpipe, 1f1b'):
        build_schedule("2f2b", 2, 2)
