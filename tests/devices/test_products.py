"""Products and attention: every shape is there once a layout, each computes what it says, rates are sane."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from plait.devices.device import Device
from plait.devices.products import _product, gemm_shapes, measure_attention, measure_gemm
from plait.specs.measurements import Layout

MOST = 1e15  # no device multiplies faster


def test_shapes_are_every_combination_but_the_largest():
    assert gemm_shapes((2, 4), 16) == ((2, 2, 2), (2, 2, 4), (2, 4, 2), (4, 2, 2))
    assert len(gemm_shapes((2, 4, 8), 10**9)) == 27


@pytest.mark.parametrize("layout", get_args(Layout))
def test_a_case_multiplies_m_k_by_k_n(layout: Layout):
    m, n, k = 3, 5, 7
    pool = torch.arange(m * k + k * n, dtype=torch.float64)
    left, right = pool[: m * k], pool[m * k :]
    a = left.view(k, m).t() if layout == "weight_gradient" else left.view(m, k)
    b = right.view(n, k).t() if layout == "forward" else right.view(k, n)
    assert torch.equal(_product(pool, (m, n, k), layout)(), a @ b)


def test_every_shape_is_measured_in_every_layout_that_training_has():
    shapes = ((64, 64, 64), (8, 64, 64))
    found = measure_gemm(shapes, "fp32", budget=0.01, device=Device())
    layouts = {(one.m, one.n, one.k): set[str]() for one in found}
    for one in found:
        layouts[one.m, one.n, one.k].add(one.layout)
        assert 0 < one.flops_per_second < MOST
    assert layouts == {(64, 64, 64): set(get_args(Layout)), (8, 64, 64): {"forward"}}


def test_attention_has_a_forward_and_a_backward():
    found = measure_attention(((16, 8), (32, 8)), "fp32", budget=0.01, device=Device(), start=1e-6)
    assert [(one.seq, one.head_dim) for one in found] == [(16, 8), (32, 8)]
    for one in found:
        work = one.batch * one.heads * one.seq**2 * one.head_dim
        assert 0 < work / one.forward_seconds < MOST
        assert 0 < work / one.backward_seconds < MOST
