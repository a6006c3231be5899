"""Every rule of the list refuses its planted fault, in words that name it; the drawing points at the place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.errors import IllegalSchedule
from plait.schedules.action import Action
from plait.schedules.forward_only import forward_only
from plait.schedules.one_f_one_b import one_f_one_b
from plait.schedules.rules import list_rules, positions
from plait.schedules.schedule import schedule_from_orders
from plait.schedules.validate import validate
from tests.schedules.drawing import listed, planted, swapped, without

SCHEDULE = one_f_one_b(3, 4)


def refusal(schedule, **options) -> str:
    with pytest.raises(IllegalSchedule) as refused:
        validate(schedule, **options)
    return str(refused.value)


def added(*steps: str):
    """A fault: steps at the end that should not be."""
    return lambda program: program + listed(" ".join(steps))[0]


@pytest.mark.parametrize(
    ("rank", "fault", "words"),
    [
        (1, added("3F0"), "3F0 is of no stage: there are stages 0 to 2"),
        (1, added("1F4"), "1F4 is of no microbatch: there are microbatches 0 to 3"),
        (1, added("2F0"), "2F0 stands on rank 1, but rank 2 performs stage 2"),
        (2, added("2SEND_F0"), "2SEND_F0 has no stage 3 at its other end: there are stages 0 to 2"),
        (0, added("0SEND_B0"), "0SEND_B0 has no stage -1 at its other end"),
        (0, added("0F0+0RECV_B0"), "a step is one computation or a group of transfers, not '0F0+0RECV_B0'"),
        (0, lambda program: ((), *program), "a step is one computation or a group of transfers, not ''"),
    ],
)
def test_what_stands_in_the_wrong_place(rank, fault, words):
    assert words in refusal(planted(SCHEDULE, rank, fault))


@pytest.mark.parametrize("stage_rank", [(0, 1), (0, 1, 3), (0, 1, -1)])
def test_stages_without_a_rank(stage_rank):
    message = refusal(replace(SCHEDULE, stage_rank=stage_rank))
    assert message.startswith(f"3 stages on 3 ranks can't be placed as stage_rank = {stage_rank}")
    assert "one rank, 0 to 2, for each stage" in message


def test_a_transfer_between_stages_of_one_rank():
    orders = [[Action.parse(word) for word in ["0F0", "1F0", "1B0", "0B0"]]]
    schedule = schedule_from_orders("both", 1, orders, stage_rank=(0, 0))
    validate(schedule)
    message = refusal(planted(schedule, 0, added("0SEND_F0+1RECV_F0")))
    assert "0SEND_F0 stays on rank 0, which performs stage 1 too: there is nothing to transfer" in message


def test_a_dropped_forward():
    message = refusal(planted(SCHEDULE, 1, without("1F2")))
    assert message == (
        "microbatch 2 is lost: stage 1 of 3 never performs 1F2\n    rank 1 computes 1F0  1F1  1B0  1B1  1F3  1B2  1B3"
    )


def test_a_dropped_backward():
    message = refusal(planted(SCHEDULE, 0, without("0B3")))
    assert "microbatch 3 is lost: stage 0 of 3 never goes backward on it" in message
    assert "neither 0B3 nor both of 0I3 and 0W3" in message


def test_a_dropped_microbatch_is_lost_on_every_stage():
    schedule = replace(one_f_one_b(3, 3), microbatches=4)
    message = refusal(schedule)
    assert [f"stage {s} of 3 never performs {s}F3" in message for s in range(3)] == [True] * 3
    assert "and 3 more of this kind" in message, "the backward of each stage"


def test_half_a_backward_and_a_backward_too_many():
    def split(*words: str):
        instead = listed(" ".join(words))[0]
        return lambda program: tuple(s for t in program for s in (instead if t == listed("0B1")[0][0] else (t,)))

    validate(planted(SCHEDULE, 0, split("0I1", "0W1")))
    assert "neither 0B1 nor both of 0I1 and 0W1" in refusal(planted(SCHEDULE, 0, split("0I1")))
    assert "goes backward twice: 0B1 is 0I1 and 0W1" in refusal(planted(SCHEDULE, 0, split("0B1", "0W1")))
    assert "0W1 at step 10 comes before 0I1 at step 11" in refusal(planted(SCHEDULE, 0, split("0W1", "0I1")))


@pytest.mark.parametrize("again", ["0F1", "0B1", "0SEND_F1"])
def test_an_action_twice(again):
    program = SCHEDULE.programs[0]
    first = 1 + next(i for i, step in enumerate(program) if Action.parse(again) in step)
    words = f"{again} is performed twice, at steps {first} and {len(program) + 1}"
    assert words in refusal(planted(SCHEDULE, 0, added(again)))


@pytest.mark.parametrize("extra", ["0B0", "0I0", "0W0", "0RECV_B0"])
def test_a_backward_where_only_forward_is_run(extra):
    schedule = planted(forward_only(range(2), 2), 0, added(extra))
    assert f"{extra} has no place where only forward is run" in refusal(schedule, training=False)


def test_a_microbatch_lost_where_only_forward_is_run():
    schedule = planted(forward_only(range(2), 2), 1, without("1F1"))
    assert "stage 1 of 2 never performs 1F1" in refusal(schedule, training=False)


@pytest.mark.parametrize(
    ("rank", "gone", "words"),
    [
        (1, "1RECV_F2", "0SEND_F2 has no 1RECV_F2, which rank 1 should perform"),
        (0, "0SEND_F2", "1RECV_F2 has no 0SEND_F2, which rank 0 should perform"),
        (1, "1RECV_B3", "2SEND_B3 has no 1RECV_B3, which rank 1 should perform"),
    ],
)
def test_a_missing_end_of_a_transfer(rank, gone, words):
    assert words in refusal(planted(SCHEDULE, rank, without(gone)))


def test_a_transfer_missing_at_both_ends():
    schedule = planted(planted(SCHEDULE, 0, without("0SEND_F2")), 1, without("1RECV_F2"))
    assert "1F2 needs 1RECV_F2, which rank 1 never performs" in refusal(schedule)


@pytest.mark.parametrize(
    ("rank", "i", "j", "words"),
    [
        (2, 1, 2, "2B0 at step 2 comes before 2F0 at step 3, which it needs"),
        (1, 0, 1, "1F0 at step 1 comes before 1RECV_F0 at step 2, which it needs"),
        (0, 0, 1, "0SEND_F0 at step 1 comes before 0F0 at step 2, which it needs"),
        (2, 2, 3, "2SEND_B0 at step 3 comes before 2B0 or 2I0 at step 4, which it needs"),
        (0, 5, 6, "0B0 at step 6 comes before 0RECV_B0 at step 7, which it needs"),
    ],
)
def test_swapped_steps(rank, i, j, words):
    assert words in refusal(planted(SCHEDULE, rank, swapped(i, j)))


def test_a_stage_uses_what_its_own_rank_has_not_yet_made():
    orders = [[Action.parse(word) for word in ["1F0", "0F0", "1B0", "0B0"]]]
    message = refusal(schedule_from_orders("both", 1, orders, stage_rank=(0, 0)))
    assert "1F0 at step 1 comes before 0F0 at step 2" in message


def test_messages_between_two_ranks_keep_their_order():
    programs = listed("0F0 0F1 0SEND_F1+0SEND_F0", "1RECV_F0+1RECV_F1 1F0 1F1")
    message = refusal(replace(forward_only(range(2), 2), programs=programs), training=False)
    assert "rank 0 sends 0SEND_F1 to rank 1, which at that place receives 1RECV_F0" in message
    assert "messages between two ranks keep their order" in message


def test_the_drawing_points_at_the_step():
    text, marks = refusal(planted(SCHEDULE, 2, swapped(5, 4))).splitlines()[-2:]
    assert text[marks.index("^") : marks.rindex("^") + 1] == "2B1"


def test_a_fault_is_found_by_its_own_rule():
    """The rules in their order; a legal schedule breaks none of them, and each planted fault just its own first."""
    faults = [added("9F0"), without("1F2"), without("1RECV_F2"), swapped(0, 1)]
    for expected, fault in enumerate(faults):
        schedule = planted(SCHEDULE, 1, fault)
        rules = list_rules(training=True)[: expected + 1]
        assert [i for i, rule in enumerate(rules) if list(rule(schedule, positions(schedule)))] == [expected]
    assert not any(list(rule(SCHEDULE, positions(SCHEDULE))) for rule in list_rules(training=True))
