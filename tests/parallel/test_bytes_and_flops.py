"""Predicted bytes and FLOPs are those of the tensors and the operations themselves, on every rank, to the last one."""

from __future__ import annotations

import pytest

from plait.planner.flops import flops_of_step
from plait.planner.memory import memory_of
from tests.parallel.cases import CASES


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bytes_of_weights_gradients_and_optimizer_state(measured, case):
    for rank, one in enumerate(measured(case)):
        predicted = memory_of(case.model, case.training, case.plan, rank)
        assert one.weight_bytes == predicted.weights
        assert one.gradient_bytes == predicted.gradients
        assert one.optimizer_bytes == predicted.optimizer + predicted.host
        assert (predicted.optimizer == 0) == case.plan.offloads or not one.optimizer_bytes
        assert one.residual_bytes == predicted.residuals


@pytest.mark.parametrize("case", CASES, ids=str)
def test_flops(measured, case):
    for rank, one in enumerate(measured(case)):
        assert one.flops == flops_of_step(case.model, case.training, case.plan, rank).total
