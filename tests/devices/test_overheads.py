"""Dispatch and optimizer steps: positive, small where they must be, and really a step."""

from __future__ import annotations

import torch

from plait.devices.device import Device
from plait.devices.overheads import (
    _backward,
    _chain,
    _small_blocks,
    measure_blocks,
    measure_dispatch,
    measure_optimizers,
)
from plait.layers.small_blocks import SMALL_BLOCKS


def test_a_chain_is_that_many_operators():
    x = torch.ones(8, requires_grad=True)
    assert _chain(x, 3).tolist() == [1.5**3] * 8
    (gradient,) = _backward(x, 3)()
    assert gradient.tolist() == [1.5**3] * 8


def test_an_operator_costs_something_and_less_than_a_millisecond():
    dispatch, start = measure_dispatch(budget=0.05, device=Device())
    for seconds in (dispatch.plain, dispatch.forward, dispatch.backward):
        assert 0 < seconds < 1e-3
    assert 0 <= start < 1e-2


def test_small_blocks_of_both_kinds_are_timed_and_learn():
    found = measure_blocks(budget=0.01, device=Device(), start=0.0)
    assert [one.norm for one in found] == list(SMALL_BLOCKS)
    for one in found:
        assert 1e-6 < one.forward_seconds < 0.1
        assert 1e-6 < one.backward_seconds < 0.1
    for model in SMALL_BLOCKS.values():
        run = _small_blocks(model, Device())
        weights = next(cell.cell_contents for cell in run.__closure__ if isinstance(cell.cell_contents, list))
        gradients = [weight.grad for block in weights for weight in block.parameters()]
        run(backward=False)
        assert all(not gradient.any() for gradient in gradients)
        run(backward=True)
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert any(gradient.any() for gradient in gradients)


def test_both_optimizers_step_over_every_size():
    found = measure_optimizers(((2, 2**10), (3, 100)), budget=0.02, device=Device())
    assert [(one.name, one.tensors, one.parameters) for one in found] == [
        ("adamw", 2, 2**10),
        ("adamw", 3, 99),
        ("sgd", 2, 2**10),
        ("sgd", 3, 99),
    ]
    assert all(0 < one.seconds < 1.0 for one in found)
