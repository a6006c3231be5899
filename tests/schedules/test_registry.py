"""Schedules go by the names of the contract; what is not built says so."""

from __future__ import annotations

import pytest

from plait.errors import PlaitError
from plait.schedules.gpipe import gpipe
from plait.schedules.one_f_one_b import one_f_one_b
from plait.schedules.registry import BUILT, build_schedule


def test_a_name_gives_its_schedule():
    assert build_schedule("gpipe", 3, 5) == gpipe(3, 5)
    assert build_schedule("1f1b", 3, 5) == one_f_one_b(3, 5)


@pytest.mark.parametrize("kind", BUILT)
def test_a_schedule_knows_its_name(kind):
    assert build_schedule(kind, 2, 2).kind == kind


@pytest.mark.parametrize("kind", ["interleaved", "zb-h1", "zb-v"])
def test_what_is_to_come_is_not_built_yet(kind):
    with pytest.raises(PlaitError, match=f'schedule = "{kind}" is not built yet; built are: gpipe, 1f1b'):
        build_schedule(kind, 2, 2)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(PlaitError, match='"2f2b" is no schedule; built are: gpipe, 1f1b'):
        build_schedule("2f2b", 2, 2)
