"""What the planner reads off a schedule: held microbatches, counts of actions, exchanges."""

from __future__ import annotations

import pytest

from plait.errors import PlaitError
from plait.planner.timetable import timetable
from plait.schedules.action import Action, Kind


def test_held_microbatches_and_counts():
    known = timetable("1f1b", 3, 4)
    assert known.held == (((3,),), ((2,),), ((1,),))
    assert [count[Kind.F] for count in known.counts] == [4, 4, 4]
    assert [count[Kind.SEND_F] for count in known.counts] == [4, 4, 0]
    assert [count[Kind.SEND_B] for count in known.counts] == [0, 4, 4]
    assert timetable("gpipe", 3, 4).held == (((4,),),) * 3


def test_exchanges_are_both_directions_of_a_link_at_once():
    # stage 0 of 2 sends F1 while it receives B0, and F2 while B1; the first F and the last B cross nothing
    expected = {
        Action(0, Kind.SEND_F, 1),
        Action(1, Kind.SEND_B, 0),
        Action(0, Kind.SEND_F, 2),
        Action(1, Kind.SEND_B, 1),
    }
    assert timetable("1f1b", 2, 3).exchanged == expected
    assert timetable("1f1b", 1, 3).exchanged == frozenset()


def test_gpipe_exchanges_nothing():
    # stage 0 offers its last activation and waits for the first gradient in one step, stage 1 one after the other
    assert timetable("gpipe", 2, 3).exchanged == frozenset()


def test_what_a_rank_holds_of_each_of_its_stages():
    assert timetable("interleaved", 2, 4, 2).held == (((4, 1), (3, 2)), ((3, 0), (2, 1)))
    assert timetable("zb-v", 2, 6, 2).held[0] == ((3, 1), (2, 2))


def test_an_unknown_schedule_is_refused():
    with pytest.raises(PlaitError, match="chimera"):
        timetable("chimera", 2, 2)
