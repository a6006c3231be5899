"""One block of a decoder: attention, then a feed-forward part, each on a normed copy of the residual stream.

hidden ─┬──────────────────────(+)─┬────────────────(+)─► hidden
        └─ norm ─ attention ────┘  └─ norm ─ mlp ────┘
"""

from __future__ import annotations

from torch import Tensor, nn

from plait.layers.gpt import names_of
from plait.models.attention import Attention
from plait.models.mlp import MLP
from plait.models.norm import norm_of
from plait.models.sequences import Sequences
from plait.specs.model import ModelSpec

__all__ = ["Block"]


class Block(nn.Module):
    """(batch, sequence, hidden) to the same. `name` is the layer's, as in `layers.gpt`, and keys its dropout."""

    def __init__(self, spec: ModelSpec, *, name: str, seed: int) -> None:
        super().__init__()
        names = names_of(spec)
        self.add_module(names.norm_1, norm_of(spec))
        self.add_module(names.attention, Attention(spec, name=f"{name} attention", seed=seed))
        self.add_module(names.norm_2, norm_of(spec))
        self.add_module(names.mlp, MLP(spec, name=f"{name} mlp", seed=seed))

    def forward(self, hidden: Tensor, sequences: Sequences) -> Tensor:
        norm_1, attention, norm_2, mlp = self.children()
        hidden = hidden + attention(norm_1(hidden), sequences)
        return hidden + mlp(norm_2(hidden), sequences)
