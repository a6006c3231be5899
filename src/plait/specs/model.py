"""What the model is: the shape of a network, read from `[model]`, and nothing about how it is split.

One decoder family spans GPT-2 / GPT-3 (learned positions, LayerNorm, GELU, biases, tied) and Llama
(RoPE, RMSNorm, SwiGLU, grouped-query attention, untied); the other families find their place in `family`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Activation", "Family", "ModelSpec", "Norm", "Positions"]

Family = Literal["gpt", "bert", "t5"]
Positions = Literal["learned", "rope", "alibi", "relative"]
Norm = Literal["layer", "rms"]
Activation = Literal["gelu", "relu", "swiglu"]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The shape of a network. `ffn`, `vocab` and `max_positions` count features, tokens and positions."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    max_positions: int
    family: Family = "gpt"
    positions: Positions = "learned"
    rope_theta: float = 10000.0
    norm: Norm = "layer"
    norm_eps: float = 1e-5
    activation: Activation = "gelu"
    bias: bool = True
    dropout: float = 0.0
    tie_embeddings: bool = True

    @property
    def head_dim(self) -> int:
        """Features of one attention head."""
        return self.hidden // self.heads

    @property
    def queries_per_kv_head(self) -> int:
        """How many query heads read one key/value head."""
        return self.heads // self.kv_heads
