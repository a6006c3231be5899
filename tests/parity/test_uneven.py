"""Shares that don't come out even: of heads, features, tokens and positions; and more ranks than key/value heads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.parity.harness import BITING, GPT2, LLAMA, TRAINING, plan

CLIPPED = replace(TRAINING, clip_norm=BITING)
ONE_MICROBATCH = {"microbatch": 12}


@pytest.mark.parametrize("model", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("shares", [(3, 1), (1, 2.5), (1, 4, 1)], ids=str)
def test_tensor_ranks_may_have_unequal_shares(parity, model, shares):
    chosen = plan(tensor=len(shares), tensor_shares=shares, sequence_parallel=True, **ONE_MICROBATCH)
    parity.holds(model, CLIPPED, chosen)


@pytest.mark.parametrize("length", [5, 12, 13])
@pytest.mark.parametrize("tensor", [2, 3])
def test_any_length_is_split_over_the_sequence(parity, tensor, length):
    training = replace(CLIPPED, sequence_length=length)
    parity.holds(replace(GPT2, dropout=0.1), training, plan(tensor=tensor, sequence_parallel=True, **ONE_MICROBATCH))


@pytest.mark.parametrize("sequence_parallel", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2, 3])
def test_key_value_heads_live_on_every_rank_that_reads_them(parity, kv_heads, sequence_parallel):
    model = replace(LLAMA, kv_heads=kv_heads)
    chosen = plan(tensor=4, sequence_parallel=sequence_parallel, **ONE_MICROBATCH)
    parity.holds(model, CLIPPED, chosen)


@pytest.mark.parametrize("bias", [False, True])
def test_biases_and_norms_of_the_other_family(parity, bias):
    model = replace(LLAMA, bias=bias, norm="layer", activation="relu", tie_embeddings=True)
    chosen = plan(data=2, tensor=2, sequence_parallel=True, microbatch=6)
    parity.holds(model, CLIPPED, chosen)


def test_one_bucket_a_weight(parity):
    parity.holds(GPT2, CLIPPED, plan(data=2, bucket_bytes=1))


def test_one_bucket_for_all(parity):
    parity.holds(GPT2, CLIPPED, plan(data=3, bucket_bytes=2**30))


def test_one_rank_is_the_same_model(parity):
    parity.holds(replace(GPT2, dropout=0.1), CLIPPED, plan(), exact=["value", "gradient"])
