"""What a rank's stage holds and sums: the same for all its data ranks, whatever the microbatch and the schedule."""

from __future__ import annotations

from dataclasses import replace

from plait.planner.stage import stage_of
from plait.plans.plan import Plan
from tests.planner.shapes import GPT2, TRAINING

PLAN = Plan(data=2, pipeline=2, stages=(1, 1), data_shares=(1, 1))


def test_a_stage_by_hand():
    first, last = (stage_of(GPT2, TRAINING, PLAN, rank) for rank in (0, 2))
    assert [layer.name for layer in first.layers] == ["embedding", "block 0"]
    assert [layer.name for layer in last.layers] == ["block 1", "head"]
    assert (first.elements, last.elements) == (80 + 48 + 872, 872 + 16 + 80)
    assert [one.axis for one in first.sums] == ["data", "pipeline"]


def test_it_is_kept_for_every_data_rank_microbatch_and_schedule():
    known = stage_of(GPT2, TRAINING, PLAN, 0)
    assert stage_of(GPT2, TRAINING, PLAN, 1) is known
    assert stage_of(GPT2, TRAINING, replace(PLAN, microbatch=2, schedule="gpipe"), 0) is known
    assert stage_of(GPT2, replace(TRAINING, precision="fp64"), PLAN, 0) is not known


def test_blocks_are_counted_by_kind():
    one = stage_of(GPT2, TRAINING, Plan(stages=(2,)), 0)
    assert [(layer.name, count) for layer, count in one.kinds] == [("embedding", 1), ("block 0", 2), ("head", 1)]
