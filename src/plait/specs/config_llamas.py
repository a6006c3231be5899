"""Decoders with RMSNorm, rotary positions and a gated feed-forward part, as their configurations say them: Llama, and
what came of it.

Each kind of model has a function that says which field is which, and what its own defaults are (transformers').
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from plait.specs.config_fields import Config
from plait.specs.config_parts import GATED, Shape, attention_bias, biases, rotary, sizes, window

__all__ = ["LLAMAS", "llama", "mistral", "normalised_whole", "qwen2", "qwen3", "scaled"]


def llama(
    config: Config, *, theta: float = 10000.0, rotated: float = 1.0, eps: float = 1e-6, tied: bool = False
) -> Shape:
    """What all have, biases left aside; defaults where a kind has others than Llama."""
    return {
        **sizes(config), **rotary(config, theta, rotated),
        "norm": "rms", "norm_eps": config.number("rms_norm_eps", eps),
        "activation": config.word(config.said("hidden_act", "hidden_activation"), "silu", GATED), "bias": False,
        "tie_embeddings": config.switch("tie_word_embeddings", tied), "head_width": config.maybe("head_dim"),
    }  # fmt: skip


def _plain_llama(config: Config) -> Shape:
    return {**llama(config), **biases(config)}


def mistral(config: Config) -> Shape:
    """Also Phi-3, whose products of q, k and v, and of gate and up, are stored as one."""
    return {**llama(config), "window": config.maybe("sliding_window")}


# ---- Qwen, GLM and others with biases of q, k and v -----------------------------------------------------------------


def qwen2(config: Config) -> Shape:
    """The last blocks alone have a window, from `max_window_layers` on."""
    shape = {**llama(config), "query_bias": True}
    size = config.maybe("sliding_window") if config.switch("use_sliding_window", False) else None
    first = config.depth("max_window_layers", 28, least=0)
    if size and 0 < first < shape["layers"]:
        config.notes.append(f"sliding_window = {size} in some blocks alone")
    return {**shape, "window": None if first else size}


def qwen3(config: Config) -> Shape:
    """Each head's q and k are normalised, in place of biases."""
    shape = {**qwen2(config), **attention_bias(config), "query_norm": True}
    return {**shape, "head_width": config.count("head_dim", 128)}


def _glm(config: Config) -> Shape:
    return {
        **llama(config, rotated=0.5, eps=1.5625e-7), "query_bias": config.switch("attention_bias", True),
        "head_width": config.count("head_dim", 128),
    }  # fmt: skip


def _glm4(config: Config) -> Shape:
    return {**_glm(config), "post_norms": True}


def _seed_oss(config: Config) -> Shape:
    config.leave("attention_out_bias", False, why=" (not counted)")
    config.leave("mlp_bias", False, why=" (not counted)")
    bias = config.switch("attention_bias", True)
    return {**llama(config), "query_bias": bias, "head_width": config.count("head_dim", 128)}


def _internlm2(config: Config) -> Shape:
    config.leave("bias", False, why=" (behind attention not counted)")
    return {**llama(config), "query_bias": config.switch("bias", False)}


# ---- Gemma ----------------------------------------------------------------------------------------------------------


def _gemma(config: Config) -> Shape:
    name = config.said("hidden_activation", "hidden_act")
    shape = llama(config, tied=True)
    return {
        **shape, **attention_bias(config), "activation": config.word(name, "gelu_pytorch_tanh", GATED),
        "head_width": config.count("head_dim", 256),
    }  # fmt: skip


def _gemma2(config: Config) -> Shape:
    config.leave("attn_logit_softcapping", usual=50.0)
    config.leave("final_logit_softcapping", usual=30.0)
    return {**_gemma(config), **window(config, 4096), "post_norms": True}


def _gemma3(config: Config) -> Shape:
    """Its published configurations leave out what is as in the smallest model."""
    filled = config.with_usual(num_attention_heads=8, num_key_value_heads=4, vocab_size=262_208)
    return {**_gemma(filled), **window(filled, 4096), "post_norms": True, "query_norm": True}


# ---- others ---------------------------------------------------------------------------------------------------------


def scaled(config: Config) -> None:
    """Granite's factors, which are 1 elsewhere."""
    for name in ("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"):
        config.leave(name, 1.0)


def _granite(config: Config) -> Shape:
    scaled(config)
    return _plain_llama(config)


def normalised_whole(config: Config) -> Shape:
    """q and k are normalised over all heads at once."""
    config.notes.append("norms of q and k as wide as all heads (counted as wide as one)")
    return {"query_norm": True}


def _olmo2(config: Config) -> Shape:
    """Its norms stand behind the halves of a block, not before them."""
    config.notes.append("norms behind each half of a block, none before")
    return {
        **llama(config, eps=1e-5), **attention_bias(config), **normalised_whole(config), **window(config),
    }  # fmt: skip


def _smollm3(config: Config) -> Shape:
    config.leave("no_rope_layer_interval", usual=4)
    shape = {**llama(config, theta=2e6, tied=True), **biases(config)}
    return {**shape, **(window(config) if config.switch("use_sliding_window", False) else {})}


def _baichuan(config: Config) -> Shape:
    """The larger ones have ALiBi, and no `max_position_embeddings`."""
    rope = config.has("max_position_embeddings")
    return {**llama(config), **({} if rope else {"positions": "alibi"})}


LLAMAS: Mapping[str, Callable[[Config], Shape]] = {
    "llama": _plain_llama, "mistral": mistral, "phi3": mistral, "qwen2": qwen2, "qwen2_vl": qwen2, "qwen2_5_vl": qwen2,
    "qwen2_vl_text": qwen2, "qwen2_5_vl_text": qwen2, "qwen3": qwen3, "qwen3_vl_text": qwen3, "gemma": _gemma,
    "gemma2": _gemma2, "gemma3": _gemma3, "gemma3_text": _gemma3, "glm": _glm, "glm4": _glm4, "granite": _granite,
    "olmo2": _olmo2, "olmo3": _olmo2, "smollm3": _smollm3, "seed_oss": _seed_oss, "internlm2": _internlm2,
    "baichuan": _baichuan,
}  # fmt: skip
