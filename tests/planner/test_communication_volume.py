"""The traffic of six plans, counted by hand: every row a line of arithmetic, none taken from the code.

A message of the residual stream holds batch · sequence · hidden · 4 bytes. GPT-2 and Llama alike cross 10 times a
microbatch in 2 blocks: 1 leave of the embedding, 2 enters and 2 leaves a block, 1 enter of the head.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.planner.communication_volume import traffic_of_step
from plait.plans.plan import Plan
from tests.planner.shapes import GPT2, LLAMA, TRAINING

DP2 = Plan(data=2, stages=(2,), data_shares=(1, 1))
TP2 = Plan(tensor=2, stages=(2,), tensor_shares=(1, 1), microbatch=2)
TP2_SP = Plan(tensor=2, stages=(2,), tensor_shares=(1, 1), sequence_parallel=True)
PP2 = Plan(pipeline=2, stages=(1, 1))
TP4 = Plan(tensor=4, stages=(2,), tensor_shares=(1, 1, 1, 1), microbatch=4)
ALL = Plan(
    data=2, tensor=2, pipeline=2, stages=(1, 1), tensor_shares=(1, 1), data_shares=(1, 1), schedule="gpipe"
)  # fmt: skip


def rows(model, training, plan, rank):
    return {(t.axis, t.kind, t.bytes): t.count for t in traffic_of_step(model, training, plan, rank)}


@pytest.mark.parametrize("rank", [0, 1])
def test_two_data_ranks(rank):
    assert rows(GPT2, TRAINING, DP2, rank) == {
        ("data", "all_reduce", 7552): 1,  # all 1888 gradients in one bucket, 4 bytes each
        ("data", "all_reduce", 8): 1,  # the loss
    }


@pytest.mark.parametrize("rank", [0, 1])
def test_two_tensor_ranks(rank):
    assert rows(GPT2, TRAINING, TP2, rank) == {
        ("tensor", "all_reduce", 384): 20,  # 2·6·8·4; 10 crossings: leaves forward, enters backward; 2 microbatches
        ("tensor", "all_reduce", 48): 2,  # the largest logit of 2·6 tokens, 2 microbatches
        ("tensor", "all_reduce", 96): 2,  # sum of exponentials, and target's logit
        ("tensor", "all_reduce", 8): 1,  # clipping
    }


@pytest.mark.parametrize("rank", [0, 1])
def test_two_tensor_ranks_with_the_sequence_split(rank):
    training = replace(TRAINING, sequence_length=5)  # 3 tokens and 2: on the wire 3 and 3
    assert rows(LLAMA, training, TP2_SP, rank) == {
        ("tensor", "all_gather", 192): 40,  # 1·6·8·4; each of 10 crossings once: enters forward, leaves backward; 4 mb
        ("tensor", "reduce_scatter", 192): 40,  # and the other way round
        ("tensor", "all_reduce", 20): 4,  # the loss is of 5 tokens
        ("tensor", "all_reduce", 40): 4,
        ("tensor", "all_reduce", 160): 1,  # gradients of 5 norms of 8: each rank has seen its tokens only
        ("tensor", "all_reduce", 8): 1,
    }


@pytest.mark.parametrize("rank", [0, 1])
def test_two_stages_with_tied_embeddings(rank):
    assert rows(GPT2, TRAINING, PP2, rank) == {
        ("pipeline", "send", 192): 4,  # 1·6·8·4 for 4 microbatches: activations from rank 0, gradients from rank 1
        ("pipeline", "receive", 192): 4,
        ("pipeline", "all_reduce", 320): 1,  # wte's gradient, 80 elements, from both of its places
        ("pipeline", "all_reduce", 8): 1,  # clipping
    }


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_four_tensor_ranks_on_two_kv_heads(rank):
    assert rows(LLAMA, TRAINING, TP4, rank) == {
        ("tensor", "all_reduce", 768): 10,  # 4·6·8·4, one microbatch
        ("tensor", "all_reduce", 96): 1,
        ("tensor", "all_reduce", 192): 1,
        ("tensor", "all_reduce", 256): 1,  # this rank's kv head: k and v in 2 blocks, 2·8 elements each, with its twin
        ("tensor", "all_reduce", 8): 1,
    }


# on one of 2 tensor ranks: wte 40, wpe 48, a block 460 (16 + 16, 96 + 12, 32 + 8, 128 + 16, 128 + 8), ln_f 16
@pytest.mark.parametrize("rank", range(8))
def test_all_three_axes(rank):
    common = {
        ("tensor", "all_reduce", 192): 10,  # 2 microbatches of 1 sequence: 4 of the block, 1 of embedding or head
        ("pipeline", "send", 192): 2,
        ("pipeline", "receive", 192): 2,
        ("pipeline", "all_reduce", 160): 1,  # this rank's 5 rows of wte
        ("tensor", "all_reduce", 8): 1,
        ("pipeline", "all_reduce", 8): 1,
    }
    first = {("data", "all_reduce", 2192): 1}  # 40 + 48 + 460 = 548 elements
    last = {
        ("data", "all_reduce", 2064): 1,  # 460 + 16 + 40 = 516
        ("data", "all_reduce", 8): 1,  # the loss, where it is
        ("tensor", "all_reduce", 24): 2,
        ("tensor", "all_reduce", 48): 2,
    }
    assert rows(GPT2, TRAINING, ALL, rank) == common | (first if rank < 4 else last)


def test_one_rank_is_silent():
    assert traffic_of_step(GPT2, TRAINING, Plan(stages=(2,), sequence_parallel=True), 0) == ()


def test_no_clipping_no_norm():
    training = replace(TRAINING, clip_norm=0.0)
    assert {t.bytes for t in traffic_of_step(GPT2, training, PP2, 0)} == {192, 320}


def test_small_buckets_are_more_messages():
    plan = replace(DP2, bucket_bytes=872 * 4)
    assert rows(GPT2, TRAINING, plan, 0) == {
        # in the order of backward: ln_f 16, and block 1 but for its ln_1, 856; ln_1 and the same of block 0
        ("data", "all_reduce", 3488): 2,
        ("data", "all_reduce", 576): 1,  # ln_1 of block 0, wpe, wte: 16 + 48 + 80 = 144
        ("data", "all_reduce", 8): 1,
    }


def test_half_precision_halves_activations_alone():
    training = replace(TRAINING, precision="bf16")
    assert rows(GPT2, training, TP2, 0) == {
        ("tensor", "all_reduce", 192): 20,
        ("tensor", "all_reduce", 48): 2,  # the loss stays in 32 bits
        ("tensor", "all_reduce", 96): 2,
        ("tensor", "all_reduce", 8): 1,
    }
    assert ("data", "all_reduce", 7552) in rows(GPT2, training, DP2, 0)  # gradients are summed in 32 bits


def test_a_stage_hands_on_its_own_part_of_the_sequence():
    plan = replace(ALL, sequence_parallel=True)
    training = replace(TRAINING, sequence_length=5)
    sent = [{t.bytes for t in traffic_of_step(LLAMA, training, plan, rank) if t.kind == "send"} for rank in range(4)]
    assert sent == [{3 * 8 * 4}, {2 * 8 * 4}] * 2
