"""RMSNorm equals its formula and that formula's derivative, keeps little, and LayerNorm is biased only where wanted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.models.norm import RMSNorm, norm_of
from tests.models.shapes import GPT2, LLAMA


def written_out(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def norm(dtype: torch.dtype, features: int = 24, eps: float = 1e-3) -> RMSNorm:
    made = RMSNorm(features, eps=eps).to(dtype)
    nn.init.normal_(made.weight, mean=1, generator=torch.Generator().manual_seed(1))
    return made


def inputs(dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    x = torch.randn(3, 5, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    return (x * scale).to(dtype).requires_grad_()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_it_is_the_formula_and_its_derivative(scale: float) -> None:
    made, x = norm(torch.float64), inputs(torch.float64, scale)
    gradient = torch.randn(3, 5, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    got, expected = made(x), written_out(x, made.weight, made.eps)
    torch.testing.assert_close(got, expected, rtol=1e-14, atol=0)
    for mine, theirs in zip(
        torch.autograd.grad(got, (x, made.weight), gradient),
        torch.autograd.grad(expected, (x, made.weight), gradient),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-14 * theirs.abs().max().item())


def test_gradcheck() -> None:
    made = norm(torch.float64)
    assert torch.autograd.gradcheck(made, inputs(torch.float64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_inputs_are_normed_wide(dtype: torch.dtype) -> None:
    made, x = norm(dtype), inputs(dtype)
    got = made(x)
    wide = written_out(x.float(), made.weight.float(), made.eps)
    assert torch.equal(got, wide.to(dtype))  # rounded once
    got.sum().backward()
    (expected,) = torch.autograd.grad(wide.sum(), x)
    assert x.grad is not None
    assert x.grad.dtype == made.weight.grad.dtype == dtype
    torch.testing.assert_close(x.grad, expected)


def test_it_equals_the_one_of_other_devices() -> None:
    made, x = norm(torch.float32), inputs(torch.float32)
    torch.testing.assert_close(made(x), F.rms_norm(x, (24,), made.weight, made.eps))
    assert made.to("meta")(x.to("meta")).shape == x.shape


def test_a_second_derivative_is_refused() -> None:
    x = inputs(torch.float64)
    loss = norm(torch.float64)(x).square().sum()
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_which_norm_a_model_has() -> None:
    assert isinstance(norm_of(LLAMA), RMSNorm)
    assert set(norm_of(GPT2).state_dict()) == {"weight", "bias"}
    assert set(norm_of(replace(GPT2, bias=False)).state_dict()) == {"weight"}
    assert norm_of(replace(GPT2, norm_eps=0.5)).eps == norm_of(replace(LLAMA, norm_eps=0.5)).eps == 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_its_bits_don_t_depend_on_where_memory_begins(dtype: torch.dtype) -> None:
    """Weights lie in flat buffers, on each tensor rank elsewhere: copies would part."""
    torch.manual_seed(0)
    x, gradient = torch.randn(27, 24, dtype=dtype), torch.randn(27, 24, dtype=dtype)
    values = (x, gradient, torch.linspace(0.5, 1.5, 24, dtype=dtype))

    def gradients(first: int) -> tuple[Tensor | None, Tensor | None]:
        flat, made = torch.zeros(3 * x.numel(), dtype=dtype), norm(dtype)
        places = [flat[first + part * 700 :][: one.numel()].view(one.shape) for part, one in enumerate(values)]
        given, told, weight = (place.copy_(one) for place, one in zip(places, values, strict=True))
        made.weight = nn.Parameter(weight)
        given.requires_grad_()
        made(given).backward(told)
        return given.grad, made.weight.grad

    there = gradients(0)
    for first in range(1, 9):
        assert all(torch.equal(*pair) for pair in zip(gradients(first), there, strict=True)), first
