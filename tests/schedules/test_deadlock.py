"""A schedule that stands still: found exactly when it does, with the cycle of waits drawn."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.errors import IllegalSchedule
from plait.schedules.action import COMPUTE
from plait.schedules.forward_only import forward_only
from plait.schedules.one_f_one_b import one_f_one_b
from plait.schedules.schedule import Schedule
from plait.schedules.timeline import simulate
from tests.schedules.drawing import free, planted, unfused, without


def test_the_cycle_is_drawn():
    schedule = one_f_one_b(2, 2)
    for rank in range(2):
        schedule = planted(schedule, rank, unfused)
    with pytest.raises(IllegalSchedule) as refused:
        simulate(schedule, free, free)
    assert str(refused.value).splitlines() == [
        "deadlock: a send waits for its receive, nothing is buffered",
        "    ┌─> rank 0 at step 4 of 8: 0SEND_F1 waits for 1RECV_F1, step 5 of rank 1",
        "    │   rank 1 at step 4 of 8: 1SEND_B0 waits for 0RECV_B0, step 5 of rank 0",
        "    └──── the cycle closes; let each of its ranks offer its send and its receive in one fused step",
    ]


def test_only_the_ranks_of_the_cycle_are_drawn():
    schedule = one_f_one_b(4, 4)
    for rank in range(4):
        schedule = planted(schedule, rank, unfused)
    with pytest.raises(IllegalSchedule) as refused:
        simulate(schedule, free, free)
    waits = [line.split("rank ")[1][0] for line in str(refused.value).splitlines()[1:-1]]
    assert len(waits) == len(set(waits)) == 2, "two neighbours, though all four stand still"


def test_waiting_for_what_nobody_performs():
    schedule = planted(forward_only(range(3), 1), 2, without("2RECV_F0"))
    with pytest.raises(IllegalSchedule, match=r"1SEND_F0 waits for 2RECV_F0, which no rank performs$"):
        simulate(schedule, free, free)


def stands_still(schedule: Schedule) -> bool:
    """By the definition, slowly: while any step can complete, complete it."""
    at = [0] * schedule.ranks
    done = set()
    moved = True
    while moved:
        moved = False
        offered = {a for r, program in enumerate(schedule.programs) if at[r] < len(program) for a in program[at[r]]}
        done |= {action for action in offered if action.kind in COMPUTE or action.counterpart in offered}
        for rank, program in enumerate(schedule.programs):
            if at[rank] < len(program) and all(action in done for action in program[at[rank]]):
                at[rank] += 1
                moved = True
    return at != [len(program) for program in schedule.programs]


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_it_is_found_exactly_when_no_rank_can_go_on(data):
    schedule = one_f_one_b(data.draw(st.integers(2, 4)), data.draw(st.integers(1, 4)))
    for rank, program in enumerate(schedule.programs):
        apart = data.draw(st.sets(st.sampled_from(range(len(program)))))
        turned = data.draw(st.sets(st.sampled_from(range(len(program)))))
        steps = [tuple(reversed(step)) if i in turned else step for i, step in enumerate(program)]
        pieces = [unfused((step,)) if i in apart else (step,) for i, step in enumerate(steps)]
        schedule = planted(schedule, rank, lambda _, pieces=pieces: tuple(s for piece in pieces for s in piece))
    if stands_still(schedule):
        with pytest.raises(IllegalSchedule, match="deadlock"):
            simulate(schedule, free, free)
    else:
        simulate(schedule, free, free)
