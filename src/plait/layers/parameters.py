"""How many weights a network of a shape has, part by part, for every family: exactly, whether it can be run or not.

    Mixtral 8x7B      embedding 131 M │ attention 1.34 G │ experts 45.1 G (11.3 G active) │ head 131 M     46.7 / 12.9 G

Counted are the weights of the published checkpoints. A tied head has none of its own. It must not know how weights are
held: that is `sharding`'s. Where a family is described layer by layer (`layers.gpt`) both have the same sum, by a test.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from plait.specs.model import Experts, LatentAttention, ModelSpec

__all__ = ["BlockParameters", "Parameters", "block_parameters", "parameters", "prediction_parameters"]


@dataclass(frozen=True, kw_only=True)
class BlockParameters:
    """Weights of one block. `attention`: with that to an encoder's output; of these `keys` make keys and values by
    heads, `short` latent attention's short vectors. `router`: with a shared expert's gate. `joined`: of a block for the
    next but one token, what makes one vector of two.

    `mlp` is an ordinary feed-forward part, `experts` all that tokens may be sent to, `active_experts` those that one
    token is sent to, `shared` those that every token reads: of these either the first or the others are 0.
    """

    attention: int
    norms: int
    keys: int = 0
    short: int = 0
    mlp: int = 0
    joined: int = 0
    router: int = 0
    experts: int = 0
    active_experts: int = 0
    shared: int = 0

    @property
    def total(self) -> int:
        """All weights."""
        return self.attention + self.norms + self.mlp + self.joined + self.router + self.experts + self.shared

    @property
    def active(self) -> int:
        """The weights that one token meets."""
        return self.total - self.experts + self.active_experts


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Weights of a whole network. `keys`, `short`: parts of `attention`, as a block has them. `embedding`: tokens,
    positions, token types. `head`: what stands after the last block but for its norm. `predictions`: blocks for the
    next but one token, which checkpoints carry beside the model.
    """

    embedding: int
    attention: int
    keys: int
    short: int
    mlp: int
    router: int
    experts: int
    active_experts: int
    shared: int
    norms: int
    head: int
    predictions: int = 0

    @property
    def total(self) -> int:
        """All weights of the model, without `predictions`."""
        most = self.embedding + self.attention + self.mlp + self.router + self.shared + self.norms + self.head
        return most + self.experts

    @property
    def active(self) -> int:
        """The weights that one token meets; the whole embedding counts."""
        return self.total - self.experts + self.active_experts


@lru_cache(maxsize=256)
def parameters(spec: ModelSpec) -> Parameters:
    """The weights of a network of this shape."""
    blocks = [block_parameters(spec, number) for number in range(spec.layers)]
    return Parameters(
        embedding=_embedding(spec),
        attention=sum(block.attention for block in blocks) + _relative(spec),
        keys=sum(block.keys for block in blocks),
        short=sum(block.short for block in blocks),
        mlp=sum(block.mlp for block in blocks),
        router=sum(block.router for block in blocks),
        experts=sum(block.experts for block in blocks),
        active_experts=sum(block.active_experts for block in blocks),
        shared=sum(block.shared for block in blocks),
        norms=sum(block.norms for block in blocks) + _other_norms(spec),
        head=_head(spec),
        predictions=spec.prediction_layers * prediction_parameters(spec).total,
    )


def block_parameters(spec: ModelSpec, number: int) -> BlockParameters:
    """The weights of block `number`, from 0."""
    attention = _latent(spec, spec.latent) if spec.latent else _attention(spec)
    times = 2 if spec.crosses(number) else 1
    keys = 0 if spec.latent else _linear(spec.hidden, 2 * spec.kv_heads * spec.head_dim, spec.projects_with_bias)
    parts = {
        "attention": times * attention,
        "keys": times * keys,
        "short": _short(spec, spec.latent) if spec.latent else 0,
    }
    count = 1 if spec.branches == "one-norm" else 3 if spec.crosses(number) else 2
    norms = (2 if spec.post_norms else 1) * count * _norm(spec) + (2 * spec.head_dim if spec.query_norm else 0)
    experts = spec.experts_of(number)
    if experts is None:
        return BlockParameters(**parts, norms=norms, mlp=_mlp(spec, spec.ffn))
    one = _mlp(spec, experts.ffn)
    return BlockParameters(
        **parts,
        norms=norms,
        router=_router(spec, experts),
        experts=experts.count * one,
        active_experts=experts.per_token * one,
        shared=experts.shared * one,
    )


def prediction_parameters(spec: ModelSpec) -> BlockParameters:
    """The weights of a block for the next but one token: it joins the last hidden vector and the next token's
    embedding, both normalised, into one vector for a block like the last, and has a final norm; embedding and head are
    the model's own (arXiv 2412.19437, section 2.2)."""
    block = block_parameters(spec, spec.layers - 1)
    return replace(block, norms=block.norms + 3 * _norm(spec), joined=2 * spec.hidden * spec.hidden)


def _linear(inner: int, outer: int, bias: bool) -> int:
    return inner * outer + (outer if bias else 0)


def _norm(spec: ModelSpec, features: int | None = None) -> int:
    return (features or spec.hidden) * (2 if spec.normalises_with_bias else 1)


# ---- inside a block -------------------------------------------------------------------------------------------------


def _attention(spec: ModelSpec) -> int:
    queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    into = _linear(spec.hidden, queries + 2 * keys, spec.projects_with_bias)
    return into + _linear(queries, spec.hidden, spec.bias)


def _latent(spec: ModelSpec, latent: LatentAttention) -> int:
    """DeepSeek-V2's products, and the norms of its two short vectors."""
    queries = (latent.query_rank or spec.hidden) * spec.heads * (latent.plain + latent.rotated)
    up = latent.kv_rank * spec.heads * (latent.plain + latent.value)
    return _short(spec, latent) + queries + up + spec.heads * latent.value * spec.hidden


def _short(spec: ModelSpec, latent: LatentAttention) -> int:
    made = spec.hidden * (latent.query_rank + latent.kv_rank + latent.rotated)
    return made + latent.query_rank + latent.kv_rank


def _mlp(spec: ModelSpec, ffn: int) -> int:
    ups = 2 if spec.gated else 1
    return ups * _linear(spec.hidden, ffn, spec.bias) + _linear(ffn, spec.hidden, spec.bias)


def _router(spec: ModelSpec, experts: Experts) -> int:
    gate = spec.hidden if experts.shared_gate else 0
    return experts.count * (spec.hidden + experts.router_bias) + gate


def _relative(spec: ModelSpec) -> int:
    """T5 learns one table of distances for its encoder and one for its decoder (arXiv 1910.10683, section 2.1)."""
    tables = 2 if spec.encoder_layers else 1
    return tables * spec.relative_buckets * spec.heads if spec.positions == "relative" else 0


# ---- around the blocks ----------------------------------------------------------------------------------------------


def _embedding(spec: ModelSpec) -> int:
    places = spec.max_positions if spec.positions == "learned" else 0
    return (spec.vocab + places + spec.token_types) * spec.hidden


def _other_norms(spec: ModelSpec) -> int:
    """After the embedding, and after the last block of a stack whose blocks begin with their norms: not of bert."""
    last = {"gpt": 1, "bert": 0, "t5": 2}[spec.family]
    return (last + spec.embedding_norm) * _norm(spec)


def _head(spec: ModelSpec) -> int:
    """Bert's predicts masked tokens (dense, norm, a bias a token) and whether two sentences follow one another (its
    pooler and two numbers), as the published checkpoints have them (Devlin et al. 2018, section 3.1)."""
    table = 0 if spec.tie_embeddings else spec.vocab * spec.hidden
    if spec.family != "bert":
        return table
    dense = _linear(spec.hidden, spec.hidden, bias=True)
    return table + (dense + _norm(spec) + spec.vocab) + (dense + _linear(spec.hidden, 2, bias=True))
