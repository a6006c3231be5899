"""The counter sees what torch's own does not: attention on CPUs, forward and backward, grouped or not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from plait.devices.flop_counter import flop_counter

BATCH, LENGTH, HEAD_DIM = 2, 6, 8


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (3, 1)])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_two_products_and_five_back(heads, kv_heads, causal):
    q, k, v = (torch.randn(BATCH, n, LENGTH, HEAD_DIM, requires_grad=True) for n in (heads, kv_heads, kv_heads))
    one = 2 * BATCH * heads * LENGTH * LENGTH * HEAD_DIM
    with flop_counter() as forward:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=heads != kv_heads)
    with flop_counter() as backward:
        y.sum().backward()
    assert (forward.get_total_flops(), backward.get_total_flops()) == (2 * one, 5 * one)


def test_queries_may_be_fewer_than_keys():
    q, k, v = torch.randn(1, 1, 3, 4), torch.randn(1, 1, 5, 4), torch.randn(1, 1, 5, 4)
    with flop_counter() as counter:
        F.scaled_dot_product_attention(q, k, v)
    assert counter.get_total_flops() == 2 * 2 * 3 * 5 * 4


def test_everything_else_is_torch_s():
    x, weight, bias = torch.randn(2, 3, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True), torch.randn(5)
    found = []
    for counter in (flop_counter(), FlopCounterMode(display=False)):
        with counter:
            F.linear(x, weight, bias).tanh().sum().backward()
        found.append(counter.get_total_flops())
    assert found == [3 * 2 * 6 * 4 * 5] * 2


def test_torch_s_own_counter_is_left_as_it_was():
    before = dict(flop_registry)
    with flop_counter():
        pass
    assert flop_registry == before
