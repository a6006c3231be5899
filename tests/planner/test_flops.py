"""FLOPs by hand for one layer, by the field's formula for a whole model, and shared out without rest or overlap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.layers.gpt import describe_gpt
from plait.planner.flops import FlopCount, Share, flops_of_step, layer_flops
from plait.plans.plan import Plan
from tests.planner.shapes import GPT2, LLAMA, TRAINING

ONE = Plan(stages=(2,))


def test_one_block_by_hand():
    block = describe_gpt(LLAMA)[1]
    share = Share(batch=2, sequence=6)
    # 12 tokens; q 8·8, k 8·4, v 8·4, o 8·8, gate and up 8·12, down 12·8: 192 + 288 = 480 weights
    linear = 2 * 12 * 480
    one = 2 * 2 * 6 * 6 * 8  # 2 sequences of 6 × 6, 4 heads of 2
    assert layer_flops(block, share) == FlopCount(forward=linear + 2 * one, backward=2 * linear + 5 * one)
    explicit = layer_flops(block, replace(share, dropout=0.1))
    assert explicit == FlopCount(forward=linear + 2 * one, backward=2 * linear + 4 * one)


def test_looking_up_is_free():
    assert layer_flops(describe_gpt(GPT2)[0], Share(batch=2, sequence=6)).total == 0


def test_a_large_model_is_six_flops_a_weight_and_token():
    model = replace(GPT2, layers=4, hidden=1024, heads=8, kv_heads=8, ffn=4096, vocab=1000)
    found = flops_of_step(model, TRAINING, replace(ONE, stages=(4,)), 0).total
    # 6·N·T, the weights of products alone (12·hidden² a block, and the head), with 24 tokens; attention: 7 products
    weights = 4 * 12 * 1024**2 + 1000 * 1024
    assert found == 6 * weights * 24 + 4 * 4 * 7 * 2 * 6 * 6 * 1024


@pytest.mark.parametrize("microbatch", [1, 2, 4])
def test_the_microbatch_changes_nothing(microbatch):
    plan = replace(ONE, microbatch=microbatch)
    assert flops_of_step(GPT2, TRAINING, plan, 0) == flops_of_step(GPT2, TRAINING, ONE, 0)


@pytest.mark.parametrize(
    "plan",
    [
        Plan(data=2, stages=(2,), data_shares=(1, 1)),
        Plan(tensor=2, stages=(2,), tensor_shares=(1, 1)),
        Plan(tensor=3, stages=(2,), tensor_shares=(1, 1, 1), sequence_parallel=True),
        Plan(pipeline=2, stages=(1, 1)),
        Plan(data=2, tensor=2, pipeline=2, stages=(1, 1), tensor_shares=(3, 1), data_shares=(1, 1)),
    ],
    ids=lambda plan: f"dp{plan.data} tp{plan.tensor} pp{plan.pipeline}",
)
def test_ranks_share_the_work_without_rest(plan):
    model = replace(LLAMA, kv_heads=4)  # nothing is computed twice where every head has its own keys
    whole = flops_of_step(model, TRAINING, ONE, 0)
    ranks = [flops_of_step(model, TRAINING, plan, rank) for rank in range(plan.ranks)]
    assert sum(one.forward for one in ranks) == whole.forward
    assert sum(one.backward for one in ranks) == whole.backward


def test_shared_kv_heads_are_projected_by_each_holder():
    plan = Plan(tensor=4, stages=(2,), tensor_shares=(1, 1, 1, 1))
    ranks = [flops_of_step(LLAMA, TRAINING, plan, rank).forward for rank in range(4)]
    # k and v of 2 kv heads, computed twice: 2 blocks · 2 · 24 tokens · 8 hidden · 4 features · (k, v)
    again = 2 * 2 * 24 * 8 * 4 * 2
    assert sum(ranks) == flops_of_step(LLAMA, TRAINING, ONE, 0).forward + again
