"""A rank's order of computations becomes its program: every transfer in its place, fused where it falls together."""

from __future__ import annotations

import pytest

from plait.errors import PlaitError
from plait.schedules.action import Action
from plait.schedules.one_f_one_b import one_f_one_b
from plait.schedules.schedule import schedule_from_orders
from plait.schedules.validate import validate
from tests.schedules.drawing import listed


def orders(*lines: str) -> list[list[Action]]:
    return [[Action.parse(word) for word in line.split()] for line in lines]


def test_1f1b_written_out_by_hand():
    assert one_f_one_b(3, 3).programs == listed(
        "0F0 0SEND_F0 0F1 0SEND_F1 0F2 0SEND_F2+0RECV_B0 0B0 0RECV_B1 0B1 0RECV_B2 0B2",
        "1RECV_F0 1F0 1SEND_F0+1RECV_F1 1F1 1SEND_F1+1RECV_B0 1B0 1SEND_B0+1RECV_F2 1F2 1SEND_F2+1RECV_B1 1B1"
        " 1SEND_B1+1RECV_B2 1B2 1SEND_B2",
        "2RECV_F0 2F0 2B0 2SEND_B0+2RECV_F1 2F1 2B1 2SEND_B1+2RECV_F2 2F2 2B2 2SEND_B2",
    )


def test_a_schedule_prints_a_line_a_rank():
    lines = str(one_f_one_b(2, 1)).splitlines()
    assert lines == ["rank 0: 0F0  0SEND_F0+0RECV_B0  0B0", "rank 1: 1RECV_F0  1F0  1B0  1SEND_B0"]


def test_weight_gradients_need_no_transfer():
    schedule = schedule_from_orders("split", 1, orders("0F0 0I0 0W0", "1F0 1I0 1W0"))
    assert schedule.programs[1] == listed("1RECV_F0 1F0 1I0 1SEND_B0 1W0")[0]
    validate(schedule)


def test_two_stages_of_one_rank_hand_over_without_a_transfer():
    """A V: rank 0 has the first and the last stage."""
    schedule = schedule_from_orders("v", 1, orders("0F0 3F0 3B0 0B0", "1F0 2F0 2B0 1B0"), stage_rank=(0, 1, 1, 0))
    assert (schedule.stages, schedule.ranks) == (4, 2)
    assert schedule.programs == listed(
        "0F0 0SEND_F0+3RECV_F0 3F0 3B0 3SEND_B0+0RECV_B0 0B0", "1RECV_F0 1F0 2F0 2SEND_F0+2RECV_B0 2B0 1B0 1SEND_B0"
    )
    validate(schedule)


@pytest.mark.parametrize(("stages", "microbatches"), [(0, 1), (1, 0), (2, -1)])
def test_nothing_to_schedule_is_refused(stages, microbatches):
    with pytest.raises(PlaitError, match=f"at least 1 stage and 1 microbatch; here {stages} and {microbatches}"):
        one_f_one_b(stages, microbatches)
