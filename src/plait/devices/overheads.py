"""What does not shrink with the tensors: the dispatch of an operator, of blocks of them, of an optimizer's step.

backward of a chain of c operators = start + c · share        two chains tell the two apart
backward of small blocks           = forward and backward - forward     with what a model's own code costs around it
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from plait.devices.cold import Others
from plait.devices.device import Device
from plait.devices.timing import median_seconds
from plait.layers.small_blocks import SMALL_BLOCKS, SMALL_TOKENS
from plait.models.block import Block
from plait.models.sequences import Sequences
from plait.specs.measurements import Dispatch, Optimizer, SmallBlock
from plait.specs.model import ModelSpec

__all__ = ["measure_blocks", "measure_dispatch", "measure_optimizers"]

_CHAIN = 64

_Name = Literal["adamw", "sgd"]


def measure_dispatch(*, budget: float, device: Device) -> tuple[Dispatch, float]:
    """What one operator on 8 elements costs, and the seconds that any backward takes to get going."""
    plain, recorded = torch.zeros(8, device=device.torch), torch.zeros(8, device=device.torch, requires_grad=True)
    cases: dict[str, Callable[[], object]] = {
        "plain": partial(_chain, plain, _CHAIN),
        "forward": partial(_chain, recorded, _CHAIN),
        "one": _backward(recorded, 1),
        "all": _backward(recorded, _CHAIN),
    }
    seconds = median_seconds(cases, budget=budget, device=device)
    share = max(seconds["all"] - seconds["one"], 0.0) / (_CHAIN - 1)
    dispatch = Dispatch(plain=seconds["plain"] / _CHAIN, forward=seconds["forward"] / _CHAIN, backward=share)
    return dispatch, max(seconds["one"] - share, 0.0)


def _chain(x: Tensor, length: int) -> Tensor:
    for _ in range(length):
        x = x * 1.5
    return x


def _backward(x: Tensor, length: int) -> Callable[[], object]:
    result = _chain(x, length)
    return partial(torch.autograd.grad, result, x, torch.ones_like(result), retain_graph=True)


def measure_blocks(*, budget: float, device: Device, start: float) -> tuple[SmallBlock, ...]:
    """Time the small blocks of each kind, as one rank computes a layer. `start`: seconds that any backward takes to get
    going."""
    cases = {
        (norm, backward): partial(_small_blocks(model, device), backward=backward)
        for norm, model in SMALL_BLOCKS.items()
        for backward in (False, True)
    }
    seconds = median_seconds(cases, budget=budget, device=device)
    return tuple(
        SmallBlock(
            norm=norm,
            forward_seconds=seconds[norm, False] / model.layers,
            backward_seconds=max(seconds[norm, True] - seconds[norm, False] - start, start) / model.layers,
        )
        for norm, model in SMALL_BLOCKS.items()
    )


def _small_blocks(model: ModelSpec, device: Device) -> Callable[..., None]:
    blocks = [Block(model, name=f"block {number}", seed=0).to(device.torch) for number in range(model.layers)]
    for weight in (weight for block in blocks for weight in block.parameters()):
        torch.nn.init.constant_(weight, 1e-3)
        weight.grad = torch.zeros_like(weight)
    tokens = torch.zeros(1, SMALL_TOKENS, dtype=torch.int64, device=device.torch)
    first = torch.randn(1, SMALL_TOKENS, model.hidden, device=device.torch, requires_grad=True)
    sequences, gradient = Sequences.of(tokens), torch.ones_like(first)

    def run(*, backward: bool) -> None:
        hidden = first
        for block in blocks:
            hidden = block(hidden, sequences)
        if backward:
            hidden.backward(gradient)

    return run


def measure_optimizers(sizes: tuple[tuple[int, int], ...], *, budget: float, device: Device) -> tuple[Optimizer, ...]:
    """Time a fused step of AdamW and SGD (with momentum) over every (tensors, parameters in all), in fp32, each after
    something else, as in training."""
    keys: list[tuple[_Name, int, int]] = [
        (name, tensors, parameters) for name in _OPTIMIZERS for tensors, parameters in sizes
    ]
    cases = {key: _step(*key, device) for key in keys}
    seconds = median_seconds(cases, budget=budget, device=device, between=Others(device.torch))
    return tuple(
        Optimizer(name=name, tensors=tensors, parameters=parameters // tensors * tensors, seconds=taken)
        for (name, tensors, parameters), taken in seconds.items()
    )


def _step(name: _Name, tensors: int, parameters: int, device: Device) -> Callable[[], object]:
    weights = [torch.nn.Parameter(torch.zeros(parameters // tensors, device=device.torch)) for _ in range(tensors)]
    for weight in weights:
        weight.grad = torch.full_like(weight, 1e-3)
    return _OPTIMIZERS[name](weights).step


_OPTIMIZERS: dict[_Name, Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]] = {
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=1e-6, fused=True),
    "sgd": lambda weights: torch.optim.SGD(weights, lr=1e-6, momentum=0.9, fused=True),
}
