"""What the model is: the shape of a network, read from `[model]`, and nothing about how it is split.

    gpt    embedding ─► block ─► … ─► head          decoders, from GPT-2 to DeepSeek-V3
    bert   embedding ─► block ─► … ─► head          an encoder: post-norm, every token sees every other
    t5     embedding ─► encoder's blocks ─► decoder's blocks ─► head          a decoder's block also reads the encoder

One family of decoders spans GPT-2 / GPT-3 (learned positions, LayerNorm, GELU, biases, tied) and Llama (RoPE, RMSNorm,
SwiGLU, grouped-query attention, untied). What else a network may have stands beside it, and is None or 0 where it has
none: experts, latent attention, a window, … A shape says what there is; which of it can be run stands in `choices`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Activation", "Branches", "Experts", "Family", "LatentAttention", "ModelSpec", "Norm", "Positions"]

Family = Literal["gpt", "bert", "t5"]
Positions = Literal["learned", "rope", "alibi", "relative"]
Norm = Literal["layer", "rms"]
Activation = Literal["gelu", "relu", "swiglu", "geglu"]
Branches = Literal["serial", "parallel", "one-norm"]


@dataclass(frozen=True, kw_only=True)
class Experts:
    """A mixture of experts in place of the feed-forward part: a router sends each token to `per_token` of `count`.

    `ffn` counts the features of one expert. `shared` experts of the same width are read by every token; `shared_gate`:
    through a gate of one number a token. `dense` lists the blocks whose feed-forward part is the ordinary one, of
    `ModelSpec.ffn` features. `router_bias`: the router adds a number for each expert (DeepSeek-V3's balancing).
    Whether tokens are dropped is a matter of the run, not of the shape.
    """

    count: int
    per_token: int
    ffn: int
    shared: int = 0
    shared_gate: bool = False
    dense: tuple[int, ...] = ()
    router_bias: bool = False


@dataclass(frozen=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1): queries and keys/values are made from
    short vectors, each of which has an RMSNorm.

        hidden ─► query_rank ─► heads × (plain + rotated)           query_rank 0: straight from hidden
        hidden ─► kv_rank    ─► heads × (plain + value)
               └► rotated, one for all heads                          attended: heads × value ─► hidden

    `plain`, `rotated` and `value` count features of a head.
    """

    query_rank: int
    kv_rank: int
    plain: int
    rotated: int
    value: int


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The shape of a network. `ffn`, `vocab` and `max_positions` count features, tokens and positions.

    `layers` counts all blocks; the first `encoder_layers` of them are a t5's encoder. `head_width`: features of a head,
    where they are not hidden / heads. `window`: how many tokens back a token sees. `query_bias`: biases of q, k, v,
    where they are not as `bias` says; `norm_bias`: of LayerNorms, likewise. `query_norm`: each head's q and k are
    normalised. `branches`: whether a block's two halves follow one another, or read the same input, each through a norm
    of its own or both through one. `post_norms`: each half's result goes through a norm, too (Gemma 2, arXiv
    2408.00118, section 2). `embedding_norm`: a norm after the embedding. `token_types`: rows of bert's table of
    segments. `relative_buckets`: distances that relative positions tell apart. `prediction_layers`: further blocks that
    predict the next but one token (DeepSeek-V3, arXiv 2412.19437, section 2.2).
    """

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
    encoder_layers: int = 0
    head_width: int | None = None
    window: int | None = None
    query_bias: bool | None = None
    norm_bias: bool | None = None
    query_norm: bool = False
    branches: Branches = "serial"
    post_norms: bool = False
    embedding_norm: bool = False
    token_types: int = 0
    relative_buckets: int = 32
    prediction_layers: int = 0
    experts: Experts | None = None
    latent: LatentAttention | None = None

    @property
    def head_dim(self) -> int:
        """Features of one attention head."""
        return self.head_width or self.hidden // self.heads

    @property
    def key_dim(self) -> int:
        """Features of one head's query and of its key."""
        return self.head_dim if self.latent is None else self.latent.plain + self.latent.rotated

    @property
    def value_dim(self) -> int:
        """Features of one head's value, and of what it attends to."""
        return self.head_dim if self.latent is None else self.latent.value

    @property
    def queries_per_kv_head(self) -> int:
        """How many query heads read one key/value head."""
        return self.heads // self.kv_heads

    @property
    def projects_with_bias(self) -> bool:
        """Whether q, k and v have biases."""
        return self.bias if self.query_bias is None else self.query_bias

    @property
    def normalises_with_bias(self) -> bool:
        """Whether norms have biases: of LayerNorms alone."""
        return self.norm == "layer" and (self.bias if self.norm_bias is None else self.norm_bias)

    @property
    def gated(self) -> bool:
        """Whether the feed-forward part multiplies two products (gate and up) before the last one."""
        return self.activation in ("swiglu", "geglu")

    def experts_of(self, block: int) -> Experts | None:
        """The experts of a block, by its number from 0; None where its feed-forward part is an ordinary one."""
        return None if self.experts is None or block in self.experts.dense else self.experts

    def crosses(self, block: int) -> bool:
        """Whether a block also attends to the encoder's output."""
        return self.family == "t5" and block >= self.encoder_layers
