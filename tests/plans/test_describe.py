"""A plan in words says what is there, and keeps silent about what is not."""

from dataclasses import replace

import pytest
from hypothesis import assume, given

from plait.plans.completion import complete
from plait.plans.describe import describe, keys_in_short, plan_name
from plait.plans.legality import is_legal
from plait.plans.plan import Plan
from tests.plans.drawn import jobs


@pytest.mark.parametrize(
    ("plan", "lines"),
    [
        (Plan(stages=(7,)), ["1 rank: the whole model on one device.", "Microbatches of 1 sequence."]),
        (
            Plan(data=2, pipeline=2, microbatch=2, stages=(4, 3), data_shares=(1, 1)),
            [
                "4 ranks: 2 replicas of a pipeline of 2 stages (4, 3 layers).",
                "Microbatches of 2 sequences, scheduled by 1f1b.",
                "Gradients are summed over the replicas in buckets of 25 MiB.",
            ],
        ),
        (
            Plan(tensor=3, stages=(7,), tensor_shares=(2, 1, 1), sequence_parallel=True),
            [
                "3 ranks: the model, split over 3 tensor ranks in shares of 2 : 1 : 1.",
                "Between their products, tensor ranks split the sequence too.",
                "Microbatches of 1 sequence.",
            ],
        ),
        (
            Plan(tensor=2, pipeline=2, stages=(4, 3), tensor_shares=(1, 1), schedule="gpipe"),
            [
                "4 ranks: a pipeline of 2 stages (4, 3 layers), each split over 2 tensor ranks.",
                "Microbatches of 1 sequence, scheduled by gpipe.",
            ],
        ),
        (
            Plan(data=2, stages=(7,), data_shares=(1, 1), synchronisation="diloco", local_steps=8, compression="int8"),
            [
                "2 ranks: 2 replicas of the model.",
                "Microbatches of 1 sequence.",
                "Each replica learns alone, and their weights are averaged every 8 steps, by Nesterov's momentum "
                "(DiLoCo); what they changed by travels as int8; gradients are summed in each step at first "
                "(3 times the warm-up's steps).",
            ],
        ),
        (
            Plan(data=2, stages=(7,), data_shares=(1, 1), compression="topk:0.01"),
            [
                "2 ranks: 2 replicas of the model.",
                "Microbatches of 1 sequence.",
                "Gradients are summed over the replicas in buckets of 25 MiB, compressed (topk:0.01); what that loses "
                "is sent later; at first they travel whole (3 times the warm-up's steps).",
            ],
        ),
        (
            Plan(stages=(7,), offload="optimizer"),
            [
                "1 rank: the whole model on one device.",
                "Microbatches of 1 sequence.",
                "Masters and the optimizer's state are kept in host memory, and updated there.",
            ],
        ),
    ],
)
def test_in_words(plan, lines):
    assert describe(plan).splitlines() == lines


@given(jobs())
def test_degrees_are_named_where_they_matter(job):
    assume(is_legal(job))
    plan = complete(job)
    words = describe(plan)
    assert (f"{plan.workers} replicas" in words) == (plan.workers > 1)
    assert (f"{plan.pipeline} stages" in words) == (plan.pipeline > 1)
    assert (f"{plan.tensor} tensor ranks" in words) == (plan.tensor > 1)
    assert (plan.schedule in words) == (plan.pipeline > 1)


def test_a_name_tells_a_plan_from_its_rivals():
    staged = Plan(data=2, pipeline=2, microbatch=2, stages=(4, 3), data_shares=(1, 1))
    assert plan_name(staged) == "data 2 × pipeline 2, microbatch 2, 1f1b 4+3"
    assert plan_name(Plan(stages=(8,))) == "one rank, microbatch 1"
    assert plan_name(Plan(stages=(8,), offload="optimizer")) == "one rank, microbatch 1, offload"
    wide = Plan(tensor=2, stages=(8,), tensor_shares=(1, 1), sequence_parallel=True, zero=2, recompute="full")
    assert plan_name(wide) == "tensor 2, microbatch 1, sequence parallel, ZeRO 2, full recompute"


def test_who_only_serves_is_no_replica():
    served = Plan(data=3, data_shares=(1,) * 3, stages=(7,), synchronisation="parameter-server", servers=1)
    first, _, weights, *_ = describe(served).splitlines()
    assert first == "3 ranks: 2 replicas of the model, and 1 rank that only serves."
    assert weights == "Weights are served by the last data rank, which does nothing else."
    staged = replace(served, servers=2, pipeline=2, stages=(4, 3))
    first, _, weights, *_ = describe(staged).splitlines()
    assert first == "6 ranks: 1 replica of a pipeline of 2 stages (4, 3 layers), and 4 ranks that only serve."
    assert weights == "Weights are served by the last 2 data ranks, which do nothing else."
    assert describe(replace(served, servers=0)).startswith("3 ranks: 3 replicas of the model.")


def test_unequal_shares_of_the_batch_are_told():
    uneven = Plan(data=2, data_shares=(3, 1.5), stages=(2,))
    assert "2 replicas (batch 3 : 1.5) of the model" in describe(uneven)
    assert "data shares 3 : 1.5" in plan_name(uneven)
    assert "shares" not in plan_name(replace(uneven, data_shares=(1, 1)))


def test_keys_in_short_are_called_as_in_a_file():
    keys = {
        "microbatch": 1,
        "stages": (6, 6),
        "data_shares": (1, 1),
        "tensor_shares": (2, 1),
        "sequence_parallel": False,
    }
    told = "microbatch 1, stages 6+6, data_shares equal, tensor_shares 2 : 1, sequence_parallel false"
    assert keys_in_short(keys) == told
