"""Lanes: the schedule's actions and what stands beside them, the same through JSON and back."""

import json
from math import nan

import pytest

from plait.errors import UnusableInput
from plait.report.spans import Span, busy_seconds, end_of, lane_from_rows, lane_from_timed, rows_from_timed
from plait.schedules.action import Action
from plait.schedules.timeline import Timed

TIMED = (
    Timed(Action.parse("0F0"), 0.0, 1.0),
    Timed(Action.parse("0SEND_F0"), 1.0, 1.5),
    Timed(Action.parse("0B0"), 2, 4),
)


def test_actions_are_given_their_meaning():
    assert [span.kind for span in lane_from_timed(TIMED)] == ["forward", "pipeline", "backward"]
    split = [Timed(Action.parse(name), 0, 1) for name in ("0I1", "0W1", "0RECV_B1")]
    assert [span.kind for span in lane_from_timed(split)] == ["backward", "weight-gradients", "pipeline"]


def test_a_lane_survives_json():
    assert lane_from_rows(json.loads(json.dumps(rows_from_timed(TIMED)))) == lane_from_timed(TIMED)


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
    assert end_of([(), lane_from_timed(TIMED)]) == 4
