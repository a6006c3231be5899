"""What ranks did beside what they were to do: every number that departs is told, with its layer or its axis."""

from __future__ import annotations

from dataclasses import replace

from plait.plans.prediction import Traffic, Work
from plait.verification.effort import Effort, departures

SUM = Traffic(axis="tensor", kind="all_reduce", bytes=64, count=3)
WORK = Work(
    forward_flops={"embedding": 0, "block 0": 10},
    backward_flops=20,
    weight_bytes=4,
    gradient_bytes=4,
    residual_bytes=6,
    optimizer_bytes=8,
    collectives=(SUM,),
)


def departing(**changes):
    effort = Effort(rank=1, planned=WORK, performed=replace(WORK, **changes))
    return [(one.what, one.planned, one.performed, one.layer, one.axis) for one in departures([effort])]


def test_what_is_as_planned_is_not_told():
    assert departing() == []
    assert departing(forward_flops={"block 0": 10}) == []  # none are none


def test_flops_are_told_by_layer():
    assert departing(forward_flops={"embedding": 0, "block 0": 11}) == [
        ("forward FLOPs of block 0", 10, 11, "block 0", None)
    ]
    assert departing(backward_flops=40) == [("backward FLOPs", 20, 40, None, None)]


def test_bytes_are_told_by_what_they_hold():
    assert departing(weight_bytes=8, optimizer_bytes=16) == [
        ("weight bytes", 4, 8, None, None),
        ("optimizer bytes", 8, 16, None, None),
    ]


def test_messages_are_told_by_axis_whether_too_many_or_missing():
    assert departing(collectives=(replace(SUM, count=4),)) == [("all_reduce of 64 bytes", 3, 4, None, "tensor")]
    assert departing(collectives=()) == [("all_reduce of 64 bytes", 3, 0, None, "tensor")]
    stray = Traffic(axis="data", kind="send", bytes=1024, count=1)
    assert departing(collectives=(SUM, stray)) == [("send of 1,024 bytes", 0, 1, None, "data")]
