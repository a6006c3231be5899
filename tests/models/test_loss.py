"""The loss is a sum over the targets that count, computed wide."""

from __future__ import annotations

import math

import torch

from plait.models.loss import IGNORED, cross_entropy_sum


def logits(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()


def test_it_is_the_sum_of_minus_log_probabilities() -> None:
    values, targets = logits(), torch.tensor([[0, IGNORED, 4], [IGNORED, IGNORED, 2]])
    expected = -sum(values[at].log_softmax(-1)[target] for at, target in {(0, 0): 0, (0, 2): 4, (1, 2): 2}.items())
    torch.testing.assert_close(cross_entropy_sum(values, targets), expected, rtol=1e-14, atol=0)


def test_ignored_targets_give_no_gradient_and_none_at_all_give_zero() -> None:
    values, targets = logits(), torch.full((2, 3), IGNORED)
    loss = cross_entropy_sum(values, targets)
    loss.backward()
    assert loss == 0
    assert not values.grad.any()


def test_narrow_logits_are_summed_wide() -> None:
    many = torch.zeros(4, 1000, 3, dtype=torch.bfloat16)
    loss = cross_entropy_sum(many, torch.zeros(4, 1000, dtype=torch.int64))
    assert loss.dtype == torch.float32
    assert abs(loss - 4000 * math.log(3)) < 0.01  # bfloat16 would be off by up to 16
