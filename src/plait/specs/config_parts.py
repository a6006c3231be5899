"""What configurations of several kinds have in common: sizes, rotary positions, windows, biases, experts.

Each part is some keys of a ModelSpec. It knows no kind of model, only how the fields of most are called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plait.specs.config_fields import Config, Unreadable
from plait.specs.model import Experts, LatentAttention

__all__ = [
    "ACTIVATIONS",
    "GATED",
    "Shape",
    "attention_bias",
    "biases",
    "experts",
    "latent",
    "rotary",
    "sizes",
    "window",
]

Shape = dict[str, Any]
ACTIVATIONS: Mapping[str, str] = {
    "gelu": "gelu", "gelu_new": "gelu", "gelu_fast": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu",
}  # fmt: skip
GATED: Mapping[str, str] = {
    "silu": "swiglu", "swish": "swiglu", "gelu": "geglu", "gelu_new": "geglu", "gelu_pytorch_tanh": "geglu",
}  # fmt: skip


def sizes(config: Config) -> Shape:
    """The sizes, as most configurations call them."""
    heads = config.depth("num_attention_heads")
    return {
        "layers": config.depth("num_hidden_layers"), "hidden": config.count("hidden_size"), "heads": heads,
        "kv_heads": config.depth("num_key_value_heads", heads), "ffn": config.count("intermediate_size"),
        "vocab": config.count("vocab_size"),
    }  # fmt: skip


def rotary(config: Config, theta: float = 10000.0, rotated: float = 1.0, name: str = "partial_rotary_factor") -> Shape:
    """Rotary positions. `rotated`: the part of a head that is rotated, where that is left out; Plait rotates all."""
    rope = config.part("rope_parameters")  # where newer configurations keep what rope_theta was
    rope = rope.part("full_attention") if rope.has("full_attention") else rope
    part = config.number(name, rope.number("partial_rotary_factor", rotated))
    if part != 1:
        config.notes.append(f"{name} = {part:g}")
    theta = config.number(config.said("rope_theta", "rotary_emb_base"), rope.number("rope_theta", theta))
    return {"positions": "rope", "rope_theta": theta}


def window(config: Config, usual: int | None = None) -> Shape:
    """A window of all blocks. One of some blocks is noted, and all are read as if they saw everything. `usual`: where
    it is left out."""
    config.leave("attention_chunk_size")
    size, kinds = config.maybe("sliding_window") or usual, config.kinds("layer_types")
    if size is None or kinds == {"full_attention"}:
        return {}
    if kinds == {"sliding_attention"}:
        return {"window": size}
    config.notes.append(f"sliding_window = {size} in some blocks alone")
    return {}


def biases(config: Config) -> Shape:
    """Biases of all products, of none, or of q, k and v: the one behind attention has them where these do."""
    attention, mlp = config.switch("attention_bias", False), config.switch("mlp_bias", False)
    if attention == mlp:
        return {"bias": attention}
    config.leave("mlp_bias", False, why=" (not counted)")
    return {"bias": False, **attention_bias(config)}


def attention_bias(config: Config, usual: bool = False) -> Shape:
    """Biases of q, k, v and of the product behind attention, of which a shape has no word for the last."""
    config.leave("attention_bias", False, usual=usual, why=" (behind attention not counted)")
    return {"query_bias": config.switch("attention_bias", usual)}


def experts(
    config: Config, count: int, chosen: str, *, ffn: int, per_token: int | None = None, dense: set[int] | None = None,
    **more: Any,
) -> Experts:  # fmt: skip
    """So many experts; how many of them a token is sent to stands in the field `chosen`."""
    sent = config.depth(chosen) if per_token is None else config.depth(chosen, per_token)
    if sent > count:
        raise Unreadable(f"{chosen} = {sent} is more than the {count} experts")
    return Experts(count=count, per_token=sent, ffn=ffn, dense=tuple(sorted(dense or ())), **more)


def latent(config: Config) -> Shape:
    """Latent attention, which has neither fewer heads of keys and values nor heads of one width."""
    found = LatentAttention(
        query_rank=config.maybe("q_lora_rank") or 0, kv_rank=config.count("kv_lora_rank"),
        plain=config.count("qk_nope_head_dim"), rotated=config.count("qk_rope_head_dim"),
        value=config.count("v_head_dim"),
    )  # fmt: skip
    return {"latent": found, "kv_heads": config.depth("num_attention_heads"), "head_width": None}
