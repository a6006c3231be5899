"""Attention that is not h wide: latent attention, blocks for further tokens, more tensor ranks than key/value heads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plait.estimates.collectives import Network
from plait.estimates.constants import FITTED
from plait.estimates.kernels import Kernels
from plait.estimates.memory import bytes_of_stage, memory, saved_by_block
from plait.estimates.practice import Practice
from plait.estimates.step import times
from plait.estimates.weights import Place, held_by
from plait.estimates.widths import widths
from plait.evaluation.ideal import ideal_seconds
from plait.layers.parameters import parameters, prediction_parameters
from plait.specs.model import ModelSpec
from plait.specs.presets import PRESETS
from tests.estimates.arranged import arranged, machines, task

DEEPSEEK = ModelSpec(**PRESETS["deepseek-v3"], max_positions=4096)
ONE_TOKEN = replace(DEEPSEEK, prediction_layers=0)
LLAMA = ModelSpec(**PRESETS["llama3.1-405b"], max_positions=8192)
PLAIN = Practice(overlap_data=False, overlap_tensor=False)


# ---- latent attention -----------------------------------------------------------------------------------------------


def test_a_block_of_deepseek_saves_queries_keys_and_values_as_wide_as_they_are() -> None:
    """128 heads of 192, 192, 128 and 128 features in 16 bits, and the short vectors before and behind their norms."""
    stream = 2 * 4 * 7168
    heads = 2 * 128 * (192 + 192 + 128 + 128)
    short = 2 * (1536 + 1536 + 512 + 512 + 64)
    feed = 2 * (8 * (3 * 2048 + 2 * 7168) + 3 * 2048)
    found = saved_by_block(DEEPSEEK, Practice(), arranged(), sequence=4096)["none"][0] / 4096
    assert found == stream + heads + short + feed == 561_152 + 8_320


def test_short_vectors_are_no_shorter_on_more_tensor_ranks() -> None:
    one, eight = widths(DEEPSEEK, np.array([1])), widths(DEEPSEEK, np.array([8]))
    for name in ("queries", "keys", "values", "attended"):
        assert getattr(one, name)[0] == 8 * getattr(eight, name)[0]
    assert one.short == eight.short == one.normed + 64 == 1536 + 512 + 64
    held = [held_by(task(ONE_TOKEN), arranged(tensor=size), "middle") for size in (1, 8)]
    assert held[0].whole[0] == held[1].whole[0] > 61 * 7168 * (1536 + 512 + 64)


def test_selective_recompute_makes_the_heads_again_from_their_short_vectors() -> None:
    """Megatron-Core's `mla_up_proj`: queries, keys and values are dropped, and two products give them back."""
    feed = 2 * (8 * (3 * 2048 + 2 * 7168) + 3 * 2048)
    kept = 2 * (7168 + 128 * 128) + 2 * (1536 + 512 + 64 + 7168)
    found = saved_by_block(DEEPSEEK, Practice(), arranged(), sequence=4096)["selective"][0] / 4096
    assert found == pytest.approx(kept + feed / 3)
    asked = task(ONE_TOKEN, batch=8, practice=Practice(selects_products=False, fused_gradients=True))
    none, again = times(asked, arranged(2, recompute=[0, 1])).compute
    kernels = Kernels(device=asked.machines.device, dtype="bf16", constants=FITTED)
    rows = np.array([2048.0])
    up = kernels.multiply(rows, np.array([128.0 * 192]), np.array([1536.0]))
    up = up + kernels.multiply(rows, np.array([128.0 * 256]), np.array([512.0]))
    assert again - none == pytest.approx(8 * 61 * up[0], rel=0.01)


def test_what_enters_the_heads_of_tensor_ranks_is_short() -> None:
    """An all-reduce's half of the short vectors and a half of the results, each way, and the whole of both without."""
    plans = arranged(2, tensor=4, sequence_parallel=[True, False])
    wide = replace(ONE_TOKEN, latent=None)
    latent, plain = (times(task(model, practice=PLAIN), plans).tensor for model in (ONE_TOKEN, wide))
    network, four, one = Network(machines=machines()), np.array([4]), np.array([1])
    short, hidden = (network.all_reduce(np.array([2.0 * 2048 * size]), four, one)[0] for size in (2112, 7168))
    assert plain - latent == pytest.approx(2 * 256 * 61 * (hidden - short) / 2, rel=1e-9)


def test_a_ring_carries_whole_keys_and_values() -> None:
    slow = machines(nodes=32, each=1)
    slow = replace(slow, between=replace(slow.between, peak=slow.between.peak / 1000))  # attention hides nothing of it
    found = times(task(ONE_TOKEN, batch=1, machines=slow), arranged(context=2)).context[0]
    core = times(task(ONE_TOKEN, batch=1, machines=slow), arranged(context=2)).compute[0]
    size = np.array([2.0 * 2048 * 128 * (192 + 128)])
    ring = Network(machines=slow).reduce_scatter(size, np.array([2]), np.array([1]))[0]
    assert 3 * 61 * ring - 3 * core < found < 3 * 61 * ring


# ---- further tokens -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "more"), [("first", 0), ("middle", 0), ("last", 1)])
def test_blocks_for_further_tokens_stand_on_the_last_stage_with_a_table(place: Place, more: int) -> None:
    plan = arranged(pipeline=4)
    with_it, without = (held_by(task(model), plan, place) for model in (DEEPSEEK, ONE_TOKEN))
    counted = parameters(DEEPSEEK)
    weights = with_it.dense + with_it.experts - without.dense - without.experts
    assert weights[0] == pytest.approx(more * (counted.predictions + counted.embedding), rel=1e-9)
    assert (with_it.predictions[0], without.predictions[0]) == (more, 0)


def test_one_device_has_them_beside_its_only_table() -> None:
    with_it, without = (held_by(task(model), arranged(), "first") for model in (DEEPSEEK, ONE_TOKEN))
    weights = with_it.dense + with_it.experts - without.dense - without.experts
    assert weights[0] == pytest.approx(parameters(DEEPSEEK).predictions, rel=1e-9) == pytest.approx(11.6e9, rel=0.01)


def test_they_save_what_a_block_saves_and_have_logits_of_their_own() -> None:
    plan, heads = arranged(pipeline=4), np.array([True])
    found = [bytes_of_stage(task(model), plan, held_by(task(model), plan, "last"), 3, heads)
             for model in (DEEPSEEK, ONE_TOKEN)]  # fmt: skip
    block = saved_by_block(DEEPSEEK, Practice(), plan, 2048)["none"][0]
    assert found[0].activations[0] - found[1].activations[0] == pytest.approx(block + 4 * 2 * 2048 * 7168)
    assert found[0].logits[0] == 2 * found[1].logits[0] > 0


def test_they_take_as_long_as_one_more_block_and_another_head() -> None:
    longer = replace(ONE_TOKEN, layers=62)
    wide = replace(longer, vocab=2 * ONE_TOKEN.vocab)
    asked = task(batch=8, practice=Practice(fused_gradients=True))
    usual, block, both, found = (
        times(replace(asked, model=model), arranged()).compute[0] for model in (ONE_TOKEN, longer, wide, DEEPSEEK)
    )
    assert usual < block < both < found < both + (block - usual)  # two vectors are joined for them


def test_so_does_the_ideal() -> None:
    plan = arranged()
    peak = task().machines.device.peak("bf16")
    assert peak is not None
    more = ideal_seconds(task(DEEPSEEK), plan) - ideal_seconds(task(ONE_TOKEN), plan)
    met = prediction_parameters(DEEPSEEK).active + parameters(DEEPSEEK).head
    flops = 6 * met + 6 * 128 * (192 + 128) * 2048 / 2
    assert more == pytest.approx(256 * 2048 * flops / peak, rel=1e-9)


# ---- more tensor ranks than key/value heads -------------------------------------------------------------------------


@pytest.mark.parametrize(("tensor", "heads"), [(1, 8), (4, 2), (8, 1), (16, 1), (64, 1)])
def test_a_tensor_rank_has_a_whole_key_value_head(tensor: int, heads: int) -> None:
    plan = arranged(tensor=tensor)
    each = heads * LLAMA.head_dim
    assert widths(LLAMA, plan.tensor).keys[0] == widths(LLAMA, plan.tensor).values[0] == each
    assert held_by(task(LLAMA), plan, "middle").keys[0] == pytest.approx(126 * 16384 * 2 * each)
    saved = saved_by_block(LLAMA, Practice(), plan, 2048)["none"][0]
    bare = saved_by_block(replace(LLAMA, kv_heads=128), Practice(), plan, 2048)["none"][0]
    assert bare - saved == pytest.approx(2 * 2048 * 2 * (128 / tensor - heads) * LLAMA.head_dim)


def test_the_gradients_of_copied_heads_are_summed_over_their_copies() -> None:
    network, one = Network(machines=machines("h100-80gb")), np.array([1])
    asked = task(LLAMA, practice=PLAIN, machines=machines("h100-80gb"))
    plain, copied = (times(asked, arranged(tensor=tensor)).data[0] for tensor in (8, 16))
    size = np.array([4.0 * 126 * 16384 * 2 * LLAMA.head_dim])
    assert plain == 0
    assert copied == pytest.approx(network.all_reduce(size, np.array([2]), one)[0], rel=1e-9)
    shared = times(asked, arranged(tensor=16, data=2, zero=1)).data[0]
    alone = times(replace(asked, model=replace(LLAMA, kv_heads=16)), arranged(tensor=16, data=2, zero=1)).data[0]
    assert shared - alone == pytest.approx(network.all_reduce(size / 2, np.array([2]), one)[0], rel=1e-9)


def test_more_tensor_ranks_hold_as_much_of_the_heads_that_they_copy() -> None:
    held = memory(task(LLAMA), arranged(2, tensor=[8, 16], zero=1))
    split, keys = parameters(LLAMA).total - parameters(LLAMA).norms, 126 * 16384 * 2 * LLAMA.head_dim
    halved = (split - 8 * keys) / 16
    assert held.optimizer[0] - held.optimizer[1] == pytest.approx(12 * halved, rel=1e-9)
