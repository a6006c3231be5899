"""Each slot as it is filled on a rank, against the plain computation on the whole weight; whole numbers: exact sums.

The vocabulary has 7 tokens and the sequence 5, so that on 2 ranks the shares are 4 / 3 and 3 / 2.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from plait.collectives.process_groups import build_mesh
from plait.models.attend import Attend
from plait.models.gpt import Decoder
from plait.models.loss import IGNORED, cross_entropy_sum
from plait.parallel.pipeline_stage import Extent
from plait.parallel.tensor_parallel import split_layers
from plait.plans.plan import Plan
from plait.sharding.mesh_shape import MeshShape
from plait.specs.model import ModelSpec

RANKS = 2
MODEL = ModelSpec(layers=1, hidden=4, heads=2, kv_heads=2, ffn=6, vocab=7, max_positions=5, dropout=0.5)
BATCH, LENGTH = 2, 5
BOTH = pytest.mark.parametrize("sequence_parallel", [False, True])


def whole_numbers(owner, *shape):
    return torch.randint(-9, 10, shape, generator=torch.Generator().manual_seed(owner)).double()


def split_decoder(sequence_parallel, model=MODEL, ranks=RANKS, shares=None):
    """A decoder with its slots filled, its weights still whole (a test passes the slots their slices), and the rank."""
    group = build_mesh(MeshShape(tensor=ranks)).axis("tensor")
    plan = Plan(tensor=ranks, tensor_shares=shares or (1,) * ranks, stages=(1,), sequence_parallel=sequence_parallel)
    extent = Extent()
    extent.length = LENGTH
    with torch.device("meta"):
        decoder = Decoder(model)
    split_layers(decoder, plan, group, extent)
    return decoder, group.index


def own(whole, rank, dim=0):
    return whole.tensor_split(RANKS, dim)[rank]


def residual(whole, rank, sequence_parallel):
    """What a rank has of a value of the residual stream, (batch, sequence, features)."""
    return own(whole, rank, 1) if sequence_parallel else whole


TOKENS = torch.tensor([[0, 3, 4, 6, 1], [2, 2, 5, 0, 6]])


def look_up(sequence_parallel):
    decoder, rank = split_decoder(sequence_parallel)
    rows = own(whole_numbers(0, 7, 4), rank).clone().requires_grad_()
    hidden = decoder.trunk["wte"].lookup(TOKENS, rows)
    hidden.backward(residual(whole_numbers(1, BATCH, LENGTH, 4), rank, sequence_parallel))
    return hidden.detach(), rows.grad


@BOTH
def test_a_split_vocabulary_is_looked_up(run_on_ranks, sequence_parallel):
    table = whole_numbers(0, 7, 4).requires_grad_()
    expected = F.embedding(TOKENS, table)
    expected.backward(whole_numbers(1, BATCH, LENGTH, 4))
    for rank, (hidden, gradient) in enumerate(run_on_ranks(RANKS, look_up, sequence_parallel)):
        assert torch.equal(hidden, residual(expected, rank, sequence_parallel))
        assert torch.equal(gradient, own(table.grad, rank))


def look_up_positions(sequence_parallel):
    decoder, _ = split_decoder(sequence_parallel)
    return decoder.trunk["wpe"].lookup(torch.arange(LENGTH)[None], whole_numbers(0, 5, 4))


@BOTH
def test_positions_are_looked_up_for_one_s_own_tokens(run_on_ranks, sequence_parallel):
    for rank, found in enumerate(run_on_ranks(RANKS, look_up_positions, sequence_parallel)):
        assert torch.equal(found, residual(whole_numbers(0, 1, 5, 4).view(1, 5, 4), rank, sequence_parallel))


def share_of_dropout(sequence_parallel):
    decoder, _ = split_decoder(sequence_parallel)
    rows = torch.arange(BATCH * LENGTH).view(BATCH, LENGTH)
    attention, mlp = decoder.blocks["0"].attn, decoder.blocks["0"].mlp
    return [drop.share(rows) for drop in (decoder.trunk["drop"], attention.drop, mlp.drop)]


@BOTH
def test_dropout_is_keyed_by_one_s_own_tokens(run_on_ranks, sequence_parallel):
    rows = torch.arange(BATCH * LENGTH).view(BATCH, LENGTH)
    for rank, found in enumerate(run_on_ranks(RANKS, share_of_dropout, sequence_parallel)):
        assert all(torch.equal(one, residual(rows, rank, sequence_parallel)) for one in found)


def multiply_by_rows(sequence_parallel):
    decoder, rank = split_decoder(sequence_parallel)
    x = own(whole_numbers(0, BATCH, LENGTH, 6), rank, 2).clone().requires_grad_()
    weight = own(whole_numbers(1, 4, 6), rank, 1).clone().requires_grad_()
    bias = whole_numbers(2, 4).requires_grad_()
    found = [
        block.multiply(x, weight, bias) for block in (decoder.blocks["0"].attn.c_proj, decoder.blocks["0"].mlp.c_proj)
    ]
    found[0].backward(residual(whole_numbers(3, BATCH, LENGTH, 4), rank, sequence_parallel))
    return [one.detach() for one in found], x.grad, weight.grad, bias.grad


@BOTH
def test_partial_products_are_summed_and_the_bias_is_added_once(run_on_ranks, sequence_parallel):
    x, weight, bias = (
        whole_numbers(owner, *shape).requires_grad_() for owner, shape in enumerate([(BATCH, LENGTH, 6), (4, 6), (4,)])
    )
    expected = F.linear(x, weight, bias)
    expected.backward(whole_numbers(3, BATCH, LENGTH, 4))
    ranks = run_on_ranks(RANKS, multiply_by_rows, sequence_parallel)
    for rank, (found, of_x, of_weight, _) in enumerate(ranks):
        assert all(torch.equal(one, residual(expected, rank, sequence_parallel)) for one in found)
        assert torch.equal(of_x, own(x.grad, rank, 2))
        assert torch.equal(of_weight, own(weight.grad, rank, 1))
    of_bias = [gradient for *_, gradient in ranks]  # partial under sequence parallelism, else the same on all
    assert torch.equal(sum(of_bias) if sequence_parallel else of_bias[0], bias.grad)


def enter(sequence_parallel):
    decoder, rank = split_decoder(sequence_parallel)
    hidden = residual(whole_numbers(0, BATCH, LENGTH, 4), rank, sequence_parallel)
    return [module.enter(hidden) for module in (decoder.blocks["0"].attn, decoder.blocks["0"].mlp, decoder.head)]


@BOTH
def test_whole_sequences_enter_every_split_product(run_on_ranks, sequence_parallel):
    for found in run_on_ranks(RANKS, enter, sequence_parallel):
        assert all(torch.equal(one, whole_numbers(0, BATCH, LENGTH, 4)) for one in found)


TARGETS = torch.tensor([[0, IGNORED, 4, 6, 1], [2, 3, IGNORED, 0, 6]])


def cross_entropy(dtype, scale):
    decoder, rank = split_decoder(False)
    logits = (own(whole_numbers(0, BATCH, LENGTH, 7), rank, 2) * scale).to(dtype).requires_grad_()
    loss = decoder.head.cross_entropy(logits, TARGETS)
    (loss * 0.25).backward()
    return loss.detach(), logits.grad


@pytest.mark.parametrize("scale", [0.1, 100.0])  # 900: exp() would overflow, were the maximum not taken off
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_loss_over_a_split_vocabulary(run_on_ranks, dtype, scale):
    logits = (whole_numbers(0, BATCH, LENGTH, 7) * scale).to(dtype).requires_grad_()
    expected = cross_entropy_sum(logits, TARGETS)
    (expected * 0.25).backward()
    for rank, (loss, gradient) in enumerate(run_on_ranks(RANKS, cross_entropy, dtype, scale)):
        torch.testing.assert_close(loss, expected.detach())
        torch.testing.assert_close(gradient, own(logits.grad, rank, 2))
        assert loss.dtype == torch.promote_types(dtype, torch.float32)


def attend_slot(model, ranks, shares):
    decoder, _ = split_decoder(False, model, ranks, shares)
    return decoder.blocks["0"].attn.attend


def attend_by(run_on_ranks, heads, kv_heads, ranks, shares=None):
    model = replace(MODEL, hidden=2 * heads, heads=heads, kv_heads=kv_heads)
    return run_on_ranks(ranks, attend_slot, model, ranks, shares)


def test_heads_that_cut_through_a_group_say_whom_they_read(run_on_ranks):
    # 6 query heads read kv heads 0 0 0 1 1 1; each rank keeps, and counts from 0, those that it reads
    assert attend_by(run_on_ranks, 6, 2, 4) == [
        Attend(first_head=0),  # 0 0
        Attend(first_head=2),  # 0 | 1: of its 2 kv heads, each query head reads its own
        Attend(first_head=4),  # 1
        Attend(first_head=5),  # 1
    ]
    assert attend_by(run_on_ranks, 6, 2, 2, (2, 1)) == [
        Attend(first_head=0, kv_of_head=(0, 0, 0, 1)),
        Attend(first_head=4),
    ]


def test_heads_of_their_own_need_no_list(run_on_ranks):
    assert attend_by(run_on_ranks, 7, 7, 3) == [Attend(first_head=0), Attend(first_head=3), Attend(first_head=5)]
    assert attend_by(run_on_ranks, 4, 2, 2) == [Attend(first_head=0), Attend(first_head=2)]
