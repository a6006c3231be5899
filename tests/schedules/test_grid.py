"""Grids that a person draws: what they mean, and what is said where they can't be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.errors import IllegalSchedule, PlaitError
from plait.schedules.grid import read_grid
from plait.schedules.registry import BUILT, build_schedule, divides_backward, placement, stages_a_rank
from plait.schedules.timeline import simulate
from plait.schedules.validate import validate
from plait.specs.grids import is_grid, tidy
from tests.schedules.drawing import built, free, staircase, unit

ONE_F_ONE_B = """
# 1F1B, two ranks
rank 0   F0 F1 .. B0 F2 B1 .. B2
rank 1   .. F0 B0 F1 B1 F2 B2 ..     # the last one
"""
V = """
0F0 0F1 3F0 3I0 3W0 3F1 0I0 0W0 3I1 0I1 3W1 0W1
... 1F0 2F0 1F1 2F1 2I0 1I0 2W0 2I1 1I1 1W0 2W1 1W1
"""


def refusal(text: str) -> str:
    with pytest.raises(IllegalSchedule) as caught:
        read_grid(tidy(text))
    return str(caught.value)


def test_a_staircase_is_read_as_it_is_drawn():
    grid = read_grid(tidy(ONE_F_ONE_B))
    assert (grid.ranks, grid.microbatches, grid.stage_rank) == (2, 3, (0, 1))
    assert staircase(grid.schedule) == staircase(build_schedule("1f1b", 2, 3))


def test_a_v_with_backward_in_two_parts():
    text = tidy(V)
    assert placement(text, 2, 2) == (0, 1, 1, 0)
    assert (stages_a_rank(text), divides_backward(text)) == (2, True)
    assert (stages_a_rank(tidy(ONE_F_ONE_B)), divides_backward(tidy(ONE_F_ONE_B))) == (1, False)


@settings(deadline=None)
@given(st.sampled_from(BUILT), st.integers(1, 4), st.integers(1, 6))
def test_every_schedule_is_read_from_its_drawing(kind, ranks, microbatches):
    schedule = built(kind, ranks, microbatches)
    text = "".join(" ".join(line) + "\n" for line in staircase(schedule))
    grid = read_grid(tidy(text))
    assert grid.stage_rank == schedule.stage_rank
    assert simulate(grid.schedule, unit, free, waits=False).step_seconds == max(map(len, staircase(schedule)))


def test_fewer_microbatches_leave_out_the_last_ones():
    fewer = build_schedule(tidy(ONE_F_ONE_B), 2, 2)
    validate(fewer)
    assert fewer.microbatches == 2
    assert staircase(fewer) == staircase(build_schedule("1f1b", 2, 2))


def test_other_numbers_than_it_is_drawn_for():
    with pytest.raises(PlaitError, match="drawn for 2 ranks, and there are 4"):
        build_schedule(tidy(ONE_F_ONE_B), 4, 3)
    with pytest.raises(PlaitError, match="drawn for 3 microbatches, and there are 5"):
        build_schedule(tidy(ONE_F_ONE_B), 2, 5)


def test_a_name_is_no_grid():
    assert not any(map(is_grid, BUILT))
    assert is_grid(tidy("F0 B0"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("F0 B0\nF0 X0", "line 2, column 4: 'X0' is no cell: F0, B0, I0 or W0"),
        ("F0 B0\nF0 1.B0", "line 2, column 4: '1.B0' is no cell"),
        ("rank 0  F0 B0\nrank 2  F0 B0", "line 2: the row of rank 2 stands at the place of rank 1"),
        ("F0 F0 B0", "line 1, column 4: 0F0 a second time; the first is in line 1, column 1"),
        ("F0 B0\n0F1 B0", "line 2, column 1: 0F1 stands on rank 1, but stage 0 is rank 0's: 0F0 in line 1, column 1"),
        ("0F0 0B0\n2F0 2B0", "line 2, column 1: 2F0 is of stage 2, but no row has stage 1"),
        ("F0 B0\n. .", "rank 1 computes nothing: each rank has a stage at least"),
        ("F0 F1 B0\nF0 B0 F1 B1", "rank 0 lacks 0B1, or 0I1 and 0W1: there are 2 microbatches, 0 to 1 (0F1 in line 1"),
        ("F0 I0\nF0 B0", "rank 0 lacks 0W0"),
        ("F0 I0 B0 W0", "line 1, column 4: 0I0 is a part of 0B0 in line 1, column 7"),
        ("# nothing but words", "the grid has no cell"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, said):
    assert said in refusal(text)


def test_a_place_is_the_file_s():
    """Empty lines and tabs before it count, and no sign but a line's end ends a line."""
    text = "\n\n# a\x0cgrid\nF0\tB0 F1 B1\nF0 B0 XX B1\n"
    with pytest.raises(IllegalSchedule, match="line 5, column 7: 'XX'"):
        read_grid(tidy(text))


def test_ranks_that_wait_for_each_other_are_drawn():
    assert refusal("F0 B0 F1 B1\n.. F1 F0 B0 B1").splitlines() == [
        "deadlock: each waits for what another performs later",
        "    ┌─> rank 0 at step 2 of 4: 0B0 waits for 1B0, step 3 of rank 1",
        "    │   rank 1 at step 1 of 4: 1F1 waits for 0F1, step 3 of rank 0",
        "    └──── the cycle closes; let one of its ranks perform first what another waits for",
    ]


def test_a_rank_that_waits_for_itself_is_told():
    assert "rank 0 at step 1 of 2: 0B0 waits for 0F0, step 2 of rank 0" in refusal("B0 F0")
