"""Bytes by hand for whole ranks, exact where the design says exact, and nothing lost when they are shared out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plait.planner.memory import memory_of
from plait.plans.plan import Plan
from tests.planner.shapes import GPT2, LLAMA, TRAINING

ONE = Plan(stages=(2,))
TP2 = Plan(tensor=2, stages=(2,), tensor_shares=(1, 1))
PP2 = Plan(pipeline=2, stages=(1, 1))
# tensors: wte, wpe; a block's 2 · 2 norms and 4 products with bias: 12; ln_f's 2
GPT2_TENSORS, GPT2_ELEMENTS = 2 + 2 * 12 + 2, 1888


def test_states_of_one_rank():
    found = memory_of(GPT2, TRAINING, ONE, 0)
    assert found.weights == found.gradients == 4 * GPT2_ELEMENTS
    assert found.optimizer == 2 * 4 * GPT2_ELEMENTS + 4 * GPT2_TENSORS  # two moments, and a count a tensor


@pytest.mark.parametrize(
    ("precision", "optimizer", "betas", "bytes_an_element", "bytes_a_tensor"),
    [
        ("fp32", "adamw", (0.9, 0.95), (4, 4, 8), 4),
        ("bf16", "adamw", (0.9, 0.95), (2, 4, 8 + 4), 4),  # and a master copy
        ("fp64", "adamw", (0.9, 0.95), (8, 8, 16), 4),
        ("fp32", "sgd", (0.9, 0.95), (4, 4, 4), 0),
        ("bf16", "sgd", (0.9, 0.95), (2, 4, 4 + 4), 0),
        ("fp32", "sgd", (0.0, 0.95), (4, 4, 0), 0),
    ],
)
def test_states_by_precision_and_optimizer(precision, optimizer, betas, bytes_an_element, bytes_a_tensor):
    training = replace(TRAINING, precision=precision, optimizer=optimizer, betas=betas)
    found = memory_of(GPT2, training, ONE, 0)
    weights, gradients, states = (GPT2_ELEMENTS * size for size in bytes_an_element)
    assert (found.weights, found.gradients) == (weights, gradients)
    assert found.optimizer == states + bytes_a_tensor * GPT2_TENSORS


def test_what_tensor_ranks_hold_twice_is_counted_twice():
    # on each of 2: wte 40, wpe 48, blocks 460 each, ln_f 16 (see test_communication_volume)
    for rank in (0, 1):
        assert memory_of(GPT2, TRAINING, TP2, rank).weights == 4 * (40 + 48 + 2 * 460 + 16)


def test_tied_weights_live_on_both_ends_of_the_pipeline():
    first, last = (memory_of(GPT2, TRAINING, PP2, rank).weights for rank in (0, 1))
    assert first == 4 * (80 + 48 + 872)
    assert last == 4 * (872 + 16 + 80)


def test_activations_by_hand():
    # Llama, 1 sequence of 6 tokens, fp32; numbers a token. Embedding: hidden 8, and the token itself, 8 bytes.
    # A block: two scales; attention's input 8; q 8, k 4, v 4, log-sum-exp 4; attended 8; hidden 8; the mlp's input 8;
    # gate, its activation, up and their product 12 each; hidden 8.
    # Head: a scale, its input 8, log-probabilities 11, and the target, 8 bytes. Once: cos and sin, 2 each.
    block = 2 + 8 + (8 + 4 + 4) + 4 + 8 + 8 + 8 + 4 * 12 + 8
    tokens = 6 * (8 + 4 * 8 + 2 * 4 * block + 4 * (1 + 8 + 11) + 8)
    assert memory_of(LLAMA, TRAINING, ONE, 0).activations == tokens + 6 * 2 * 2 * 4


def test_activations_grow_with_what_the_schedule_holds():
    gpipe = replace(PP2, schedule="gpipe")
    one = memory_of(GPT2, TRAINING, replace(PP2, microbatch=4), 0).activations / 4  # one microbatch of 4 sequences
    held = {name: [memory_of(GPT2, TRAINING, plan, r).activations for r in (0, 1)] for name, plan in
            (("1f1b", PP2), ("gpipe", gpipe))}  # fmt: skip
    assert held["gpipe"][0] / held["1f1b"][0] == 4 / 2
    assert held["gpipe"][1] / held["1f1b"][1] == 4 / 1
    assert held["gpipe"][0] == pytest.approx(4 * one, rel=0.02)  # positions are kept once a microbatch


def test_a_later_stage_keeps_what_it_received():
    model = replace(LLAMA, layers=4)
    middle = Plan(pipeline=3, stages=(1, 2, 1), schedule="gpipe")
    first, second = (memory_of(model, TRAINING, middle, rank).activations for rank in (0, 1))
    ends = memory_of(model, TRAINING, replace(middle, stages=(2, 1, 1)), 0).activations
    # stage 1 and the longer stage 0 keep two blocks; the one its input of 8 features, the other tokens, and that hidden
    assert ends - second == 4 * 6 * 8
    assert first < second


def test_splitting_the_sequence_splits_the_residual_stream():
    whole = memory_of(LLAMA, TRAINING, replace(TP2, microbatch=4), 0)
    split = memory_of(LLAMA, TRAINING, replace(TP2, microbatch=4, sequence_parallel=True), 0)
    # of 24 tokens half: hidden 8 after the embedding and 2 · 8 a block, 2 scales a block and 1 in the head
    assert whole.activations - split.activations == 12 * 4 * (8 + 2 * 16 + 2 * 2 + 1)
    assert whole.weights == split.weights


def test_logits_stand_on_the_last_stage():
    first, last = (memory_of(GPT2, TRAINING, PP2, rank).logits for rank in (0, 1))
    assert (first, last) == (0, 6 * 10 * 4)


def test_the_largest_message_stands_beside():
    assert memory_of(GPT2, TRAINING, ONE, 0).messages == 0
    assert memory_of(GPT2, TRAINING, replace(ONE, data=2, data_shares=(1, 1)), 0).messages == 0  # buckets are gradients
    assert memory_of(GPT2, TRAINING, PP2, 0).messages == 320  # wte's gradient, to be summed with the other stage's
    assert memory_of(GPT2, TRAINING, replace(TP2, microbatch=4), 0).messages == 4 * 6 * 8 * 4


def test_the_total_and_what_dominates_it():
    found = memory_of(GPT2, TRAINING, ONE, 0)
    kinds = (found.weights, found.gradients, found.optimizer, found.activations, found.logits, found.messages)
    assert found.total == sum(kinds)
    assert getattr(found, found.dominant) == max(kinds)


def test_averages_on_their_way_stand_beside_twice():
    plan = replace(ONE, data=2, data_shares=(1, 1), synchronisation="local-sgd", local_steps=4)
    on_time, late = (memory_of(GPT2, TRAINING, plan, 0, in_background=background) for background in (False, True))
    assert late.messages - on_time.messages == 2 * on_time.gradients
    assert late.residuals == on_time.residuals
    each = replace(plan, local_steps=1)
    assert memory_of(GPT2, TRAINING, each, 0, in_background=True) == memory_of(GPT2, TRAINING, each, 0)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_offload_keeps_the_optimizer_in_the_host_s_memory(precision):
    training = replace(TRAINING, precision=precision)
    before, after = (memory_of(GPT2, training, replace(ONE, offload=how), 0) for how in ("none", "optimizer"))
    itemsize = {"fp32": 4, "bf16": 4, "fp64": 8}[precision]
    elements = before.gradients // itemsize
    assert (before.host, after.optimizer) == (0, 0)
    assert after.host == before.optimizer + (1 if precision == "bf16" else 2) * elements * itemsize
    beside = replace(after, apart=True)
    assert beside.total == after.total - after.host == before.total - before.optimizer
    assert beside.dominant != "host"
    assert "apart" not in after.kinds
    assert all(one.total == sum(one.kinds.values()) for one in (before, after, beside))
