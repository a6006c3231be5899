"""Lanes: the schedule's actions and what stands beside them, as they come out of JSON."""

import json
from math import nan

import pytest

from plait.errors import UnusableInput
from plait.plans.prediction import Terms
from plait.report.spans import (
    Span,
    busy_seconds,
    end_of,
    lane_from_rows,
    with_tail,
    without_waiting,
)

ROWS = [["0F0", 0.0, 1.0], ["0SEND_F0", 1.0, 1.5], ["0B0", 2, 4]]


def test_actions_are_given_their_meaning():
    lane = lane_from_rows(json.loads(json.dumps(ROWS)))
    assert [span.kind for span in lane] == ["forward", "pipeline", "backward"]
    assert [(span.name, span.start, span.end) for span in lane] == [tuple(row) for row in ROWS]
    split = [[name, 0, 1] for name in ("0I1", "0W1", "0RECV_B1")]
    assert [span.kind for span in lane_from_rows(split)] == ["backward", "weight-gradients", "pipeline"]


def test_sums_and_the_optimizer_stand_beside_actions():
    lane = lane_from_rows([["optimizer", 6, 7], ["data", 5, 6], ["0F0", 0, 1]])
    assert [(span.kind, span.microbatch) for span in lane] == [("forward", 0), ("data", None), ("optimizer", None)]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (["0X0", 0, 1], "no action"),
        (["0F0", 2, 1], "can't run from 2.0 to 1.0"),
        (["0F0", -1, 1], "can't run"),
        (["0F0", 0, nan], "can't run"),
        (["0F0", nan, 1], "can't run"),
        (["0F0", 0], "no row"),
        (["0F0", "x", 1], "no row"),
        (7, "no row"),
    ],
)
def test_what_is_no_row_is_refused(row, complaint):
    with pytest.raises(UnusableInput, match=complaint):
        lane_from_rows([row])


def test_what_runs_side_by_side_is_busy_once():
    def span(start, end):
        return Span(kind="data", name="data", start=start, end=end)

    assert busy_seconds(()) == 0
    assert busy_seconds((span(0, 2), span(1, 3), span(1.5, 1.7), span(5, 6))) == 4


def test_the_end_is_that_of_the_last_lane():
    assert end_of(()) == 0
    assert end_of([(), lane_from_rows(ROWS)]) == 4


def transfers(*rows):
    return {
        span.name: (span.start, span.end) for lane in without_waiting(tuple(map(lane_from_rows, rows))) for span in lane
    }


def test_a_transfer_moves_when_both_ends_are_there():
    """The receiver waited from 0 on; the sender, which does not wait, was ready at 3; at 4 it had arrived."""
    sender, receiver = [["0F0", 0, 3], ["0SEND_F0", 3, 3.1], ["0F1", 3.1, 6]], [["1RECV_F0", 0, 4], ["1F0", 4, 7]]
    found = transfers(sender, receiver)
    assert found["0SEND_F0"] == found["1RECV_F0"] == (3, 4)
    assert (found["0F0"], found["1F0"]) == ((0, 3), (4, 7))


def test_a_sender_that_waits_for_something_else_is_cut_too():
    sender, receiver = [["0SEND_F1", 1, 9], ["0RECV_B0", 1, 9]], [["1RECV_F1", 2, 3], ["1SEND_B0", 8, 8.5]]
    found = transfers(sender, receiver)
    assert found["0SEND_F1"] == found["1RECV_F1"] == (2, 3)
    assert found["0RECV_B0"] == found["1SEND_B0"] == (8, 9)


def test_a_transfer_without_its_other_end_stays():
    assert transfers([["1RECV_F0", 0, 4], ["data", 4, 5]]) == {"1RECV_F0": (0, 4), "data": (4, 5)}


def test_clocks_that_disagree_turn_no_time_back():
    assert transfers([["0SEND_F0", 9, 10]], [["1RECV_F0", 0, 4]]) == {"0SEND_F0": (9, 9), "1RECV_F0": (9, 9)}


TERMS = Terms(compute=3.0, bubble=1.0, optimizer=0.5, exposed={"data": 0.25, "tensor": 7.0})


def test_the_schedule_alone_is_followed_by_the_terms_after_it():
    short, long = with_tail((lane_from_rows([["0F0", 0, 2]]), lane_from_rows([["1F0", 0, 4]])), TERMS)
    assert [(span.kind, span.start, span.end) for span in short[1:]] == [("data", 2, 2.25), ("optimizer", 4.25, 4.75)]
    assert [(span.kind, span.start, span.end) for span in long[1:]] == [("data", 4, 4.25), ("optimizer", 4.25, 4.75)]


def test_lanes_that_hold_sums_or_optimizer_stay():
    lanes = (lane_from_rows([["0F0", 0, 2], ["optimizer", 2, 3]]), lane_from_rows([["1F0", 0, 2]]))
    assert with_tail(lanes, TERMS) == lanes
    assert with_tail((), TERMS) == ()
    assert with_tail(((),), TERMS) == ((),)


def test_sums_over_the_pipeline_wait_for_all():
    exposed = {"pipeline": 0.125, "data": 0.25}
    terms = Terms(compute=3.0, bubble=1.0, optimizer=0.5, exposed=exposed)
    short, _ = with_tail((lane_from_rows([["0F0", 0, 2]]), lane_from_rows([["1F0", 0, 4]])), terms)
    assert [(s.kind, s.start, s.end) for s in short[1:]] == [
        ("data", 2, 2.25),
        ("pipeline", 4.25, 4.375),
        ("optimizer", 4.375, 4.875),
    ]


def test_without_sums_the_optimizer_waits_for_all():
    terms = Terms(compute=3.0, bubble=1.0, optimizer=0.5, exposed={})
    short, long = with_tail((lane_from_rows([["0F0", 0, 2]]), lane_from_rows([["1F0", 0, 4]])), terms)
    assert (short[-1].start, short[-1].end) == (long[-1].start, long[-1].end) == (4, 4.5)


def test_terms_that_are_no_numbers_or_nothing_add_nothing():
    lanes = (lane_from_rows([["0F0", 0, 2]]),)
    for nothing in (nan, 0.0, -1.0):
        assert with_tail(lanes, Terms(compute=1, bubble=0, optimizer=nothing, exposed={"data": nothing})) == lanes
