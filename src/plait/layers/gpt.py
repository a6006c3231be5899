"""The decoder family as a list of layers: embedding, blocks, head.

    tokens ─► embedding ─► block 0 ─► … ─► block n-1 ─► head ─► loss
              wte (wpe)    attention, mlp               final norm, lm_head (or wte again, tied)

Weight names are those of the published checkpoints: GPT-2's where positions are learned (its products are stored
inner × outer, q|k|v in one dim), Llama's where positions rotate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from plait.layers import dims
from plait.layers.gpt_saved import saved_by_block, saved_by_embedding, saved_by_head
from plait.layers.layer import Crossing, Dim, Init, Layer, Part, Product, Weight
from plait.specs.model import ModelSpec

__all__ = ["Names", "describe_gpt", "names_of"]


@dataclass(frozen=True, kw_only=True)
class Names:
    """What one family of published checkpoints calls its modules. `transposed`: products are stored inner × outer."""

    trunk: str
    embedding: str
    blocks: str
    norm_1: str
    attention: str
    project: tuple[str, ...]
    attention_out: str
    norm_2: str
    mlp: str
    up: tuple[str, ...]
    down: str
    final_norm: str
    head: str = "lm_head"
    positions: str = ""
    transposed: bool = False


_GPT2 = Names(
    trunk="transformer", embedding="wte", positions="wpe", blocks="h", norm_1="ln_1", attention="attn",
    project=("c_attn",), attention_out="c_proj", norm_2="ln_2", mlp="mlp", up=("c_fc",), down="c_proj",
    final_norm="ln_f", transposed=True,
)  # fmt: skip
_LLAMA = Names(
    trunk="model", embedding="embed_tokens", blocks="layers", norm_1="input_layernorm", attention="self_attn",
    project=("q_proj", "k_proj", "v_proj"), attention_out="o_proj", norm_2="post_attention_layernorm", mlp="mlp",
    up=("up_proj",), down="down_proj", final_norm="norm",
)  # fmt: skip


def names_of(spec: ModelSpec) -> Names:
    """The published names for this shape of model. SwiGLU adds the gate that stands before `up`."""
    names = _GPT2 if spec.positions == "learned" else _LLAMA
    if spec.activation != "swiglu":
        return names
    gate = "c_gate" if names is _GPT2 else "gate_proj"
    return replace(names, up=(gate, *names.up))


@lru_cache(maxsize=64)
def describe_gpt(spec: ModelSpec) -> tuple[Layer, ...]:
    """The layers of a decoder of this shape, in the order in which values flow."""
    return (_embedding(spec), *(_block(spec, number) for number in range(spec.layers)), _head(spec))


# GPT-2's recipe (Radford et al. 2019): normal 0.02, products that end a residual branch scaled by 1/sqrt(2·layers)
def _residual_std(spec: ModelSpec) -> float:
    return 0.02 / (2 * spec.layers) ** 0.5


def _linear(spec: ModelSpec, path: str, inner: Dim, outer: Dim, std: float = 0.02) -> tuple[Weight, ...]:
    dims = (inner, outer) if names_of(spec).transposed else (outer, inner)
    name = f"{path}.weight"
    weights = [Weight(name=name, path=name, dims=dims, init=Init(kind="normal", std=std), decays=True)]
    if spec.bias:
        name = f"{path}.bias"
        weights.append(Weight(name=name, path=name, dims=(outer,), init=Init(kind="zeros"), decays=False))
    return tuple(weights)


def _norm(spec: ModelSpec, path: str) -> tuple[Weight, ...]:
    inits = {"weight": Init(kind="ones")}
    if spec.norm == "layer" and spec.bias:
        inits["bias"] = Init(kind="zeros")
    return tuple(
        Weight(name=f"{path}.{leaf}", path=f"{path}.{leaf}", dims=(dims.hidden(spec),), init=init, decays=False)
        for leaf, init in inits.items()
    )


def _table(spec: ModelSpec, name: str, rows: Dim, path: str) -> Weight:
    return Weight(name=name, path=path, dims=(rows, dims.hidden(spec)), init=Init(kind="normal", std=0.02), decays=True)


def _embedding_name(spec: ModelSpec) -> str:
    names = names_of(spec)
    return f"{names.trunk}.{names.embedding}.weight"


def _embedding(spec: ModelSpec) -> Layer:
    names = names_of(spec)
    weights = [_table(spec, _embedding_name(spec), dims.vocab(spec), _embedding_name(spec))]
    if spec.positions == "learned":
        rows = Dim(parts=(Part(index="positions", units=spec.max_positions),))
        path = f"{names.trunk}.{names.positions}.weight"
        weights.append(_table(spec, path, rows, path))
    return Layer(
        name="embedding",
        kind="embedding",
        needs=("tokens", "positions"),
        gives=("hidden",),
        weights=tuple(weights),
        crossings=(Crossing(name="embedding", kind="leave"),),
        saved=saved_by_embedding(spec),
    )


def _block(spec: ModelSpec, number: int) -> Layer:
    names = names_of(spec)
    root = f"{names.trunk}.{names.blocks}.{number}"
    attention, mlp = f"{root}.{names.attention}", f"{root}.{names.mlp}"
    hidden, heads, ffn = dims.hidden(spec), dims.heads(spec), dims.ffn(spec)
    joint = len(names.project) == 1
    projected = tuple(zip(names.project, dims.projected(spec, joint=joint), strict=True))
    weights = [
        *_norm(spec, f"{root}.{names.norm_1}"),
        *(weight for name, dim in projected for weight in _linear(spec, f"{attention}.{name}", hidden, dim)),
        *_linear(spec, f"{attention}.{names.attention_out}", heads, hidden, _residual_std(spec)),
        *_norm(spec, f"{root}.{names.norm_2}"),
        *(weight for name in names.up for weight in _linear(spec, f"{mlp}.{name}", hidden, ffn)),
        *_linear(spec, f"{mlp}.{names.down}", ffn, hidden, _residual_std(spec)),
    ]
    products = (
        *(Product(name=name, kind="linear", inner=hidden, outer=dim) for name, dim in projected),
        Product(name="attend", kind="attention", inner=heads, outer=heads),
        Product(name=names.attention_out, kind="linear", inner=heads, outer=hidden),
        *(Product(name=name, kind="linear", inner=hidden, outer=ffn) for name in names.up),
        Product(name=names.down, kind="linear", inner=ffn, outer=hidden),
    )
    crossings = (
        Crossing(name="attention.enter", kind="enter"),
        Crossing(name="attention.leave", kind="leave"),
        Crossing(name="mlp.enter", kind="enter"),
        Crossing(name="mlp.leave", kind="leave"),
    )
    return Layer(
        name=f"block {number}",
        kind="block",
        needs=("hidden", "positions"),
        gives=("hidden",),
        weights=tuple(weights),
        products=products,
        crossings=crossings,
        saved=saved_by_block(spec, joint=joint),
    )


def _head(spec: ModelSpec) -> Layer:
    names = names_of(spec)
    path = f"{names.head}.weight"
    table = _table(spec, _embedding_name(spec) if spec.tie_embeddings else path, dims.vocab(spec), path)
    return Layer(
        name="head",
        kind="head",
        needs=("hidden", "targets"),
        gives=("loss",),
        weights=(*_norm(spec, f"{names.trunk}.{names.final_norm}"), table),
        products=(Product(name=names.head, kind="linear", inner=dims.hidden(spec), outer=dims.vocab(spec)),),
        crossings=(Crossing(name="head", kind="enter"), Crossing(name="loss", kind="loss")),
        saved=saved_by_head(spec),
    )
