"""What moves is told from what a neighbour has not sent yet, on one clock; and clocks that differ are found apart."""

from __future__ import annotations

import pytest

from plait.schedules.action import Action
from plait.schedules.moving import clock_offsets, moving_seconds, shifted
from plait.schedules.registry import build_schedule
from plait.schedules.timeline import Timed, simulate


def rows(*actions: tuple[str, float, float]) -> tuple[Timed, ...]:
    return tuple(Timed(Action.parse(name), start, end) for name, start, end in actions)


# stage 1 asks at 0; stage 0 has something at 5 and it is there at 7: two seconds are the wire's, five the neighbour's
SLOW_STAGE = (
    rows(("0F0", 0, 5), ("0SEND_F0", 5, 5), ("0RECV_B0", 5, 13), ("0B0", 13, 15)),
    rows(("1RECV_F0", 0, 7), ("1F0", 7, 9), ("1B0", 9, 12), ("1SEND_B0", 12, 12)),
)


def test_waiting_for_a_neighbour_is_not_moving():
    assert moving_seconds(SLOW_STAGE) == pytest.approx((1.0, 2.0))


def test_what_has_come_while_it_computed_has_cost_nothing():
    ahead = (
        rows(("0F0", 0, 2), ("0SEND_F0", 2, 2), ("0F1", 2, 4), ("0SEND_F1", 4, 4)),
        rows(("1RECV_F0", 0, 3), ("1F0", 3, 9), ("1RECV_F1", 9, 9.1), ("1F1", 9.1, 12)),
    )
    assert moving_seconds(ahead) == pytest.approx((0.0, 1.1))


def test_a_simulated_receive_that_moves_beside_computing_counts_only_beyond_it():
    ahead = (
        rows(("0F0", 0, 2), ("0SEND_F0", 2, 4), ("0F1", 2, 4), ("0SEND_F1", 4, 11)),
        rows(("1RECV_F0", 2, 4), ("1RECV_F1", 4, 11), ("1F0", 4, 9), ("1F1", 11, 12)),
    )
    assert moving_seconds(ahead)[1] == pytest.approx(2 + 2)


def test_of_a_simulated_pipeline_the_wire_s_time_is_all_that_moves():
    def moved(transfer: float, slower: float = 1.0) -> tuple[float, ...]:
        schedule = build_schedule("gpipe", 2, 4)
        found = simulate(schedule, lambda one: slower if one.stage == 0 else 1.0, lambda _: transfer)
        return moving_seconds(found.ranks)

    assert moved(0.0) == (0.0, 0.0)
    assert moved(0.0, slower=3.0) == (0.0, 0.0)
    assert moved(0.2) == pytest.approx(moved(0.2, slower=3.0))
    assert min(moved(0.4)) > 1.5 * max(moved(0.2))


def test_clocks_that_are_apart_are_found_by_messages_both_ways():
    apart = (SLOW_STAGE[0], shifted(SLOW_STAGE[1], 1000.0))
    offsets = clock_offsets([apart, apart])
    assert offsets == pytest.approx((0.0, 1000.5))  # half of what there and back differ by: 2 s and 1 s
    together = [shifted(one, -offset) for one, offset in zip(apart, offsets, strict=True)]
    assert sum(moving_seconds(together)) == pytest.approx(sum(moving_seconds(SLOW_STAGE)))


def test_one_stage_has_one_clock():
    alone = (rows(("0F0", 0, 5), ("0B0", 5, 9)),)
    assert clock_offsets([alone]) == (0.0,)
    assert moving_seconds(alone) == (0.0,)
