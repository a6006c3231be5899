"""The feed-forward part of a block: up, an activation, down; SwiGLU has a gate beside up (Shazeer, 2020).

    x ─ enter ─┬─► gate ─ silu ─┐            x ─ enter ─► up ─ gelu or relu ─► down ─► dropout
               └─► up ──────────×─► down ─► dropout

GELU is the tanh approximation, GPT-2's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from plait.layers.gpt import names_of
from plait.models.dropout import Dropout
from plait.models.linear import Linear
from plait.models.sequences import Sequences
from plait.models.slots import Enter, identity
from plait.specs.model import ModelSpec

__all__ = ["MLP"]


def _swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


_ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "gelu": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "swiglu": _swiglu,
}


class MLP(nn.Module):
    """(batch, sequence, hidden) to the same. Slot `enter(x)`, once for gate and up together."""

    def __init__(self, spec: ModelSpec, *, name: str, seed: int) -> None:
        super().__init__()
        names = names_of(spec)
        for child in names.up:
            self.add_module(child, Linear(spec.hidden, spec.ffn, bias=spec.bias, transposed=names.transposed))
        down = Linear(spec.ffn, spec.hidden, bias=spec.bias, transposed=names.transposed)
        self.add_module(names.down, down)
        self.drop = Dropout.of(spec, f"{name} residual", seed)
        self.activate = _ACTIVATIONS[spec.activation]
        self.enter: Enter = identity

    def forward(self, x: Tensor, sequences: Sequences) -> Tensor:
        *up, down, drop = self.children()
        x = self.enter(x)
        return drop(down(self.activate(*(product(x) for product in up))), sequences)
