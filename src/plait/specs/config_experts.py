"""Decoders with a mixture of experts, as their configurations say them: Mixtral, Qwen, DeepSeek, Llama 4, gpt-oss, …"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from plait.specs.config_fields import Config, Unreadable
from plait.specs.config_llamas import llama, mistral, normalised_whole, qwen2, qwen3, scaled
from plait.specs.config_parts import Shape, attention_bias, experts, latent, window

__all__ = ["MIXTURES"]

_CHOSEN = "num_experts_per_tok"


def _mixtral(config: Config) -> Shape:
    shape, count = mistral(config), config.depth("num_local_experts")
    return {**shape, "experts": experts(config, count, _CHOSEN, ffn=shape["ffn"], per_token=2)}


def _granitemoe(config: Config) -> Shape:
    scaled(config)
    shape = {**llama(config), **attention_bias(config)}
    count = config.depth("num_local_experts", 8)
    return {**shape, "experts": experts(config, count, _CHOSEN, ffn=shape["ffn"], per_token=2)}


def _olmoe(config: Config) -> Shape:
    config.leave("clip_qkv")
    shape = {**llama(config, eps=1e-5), **attention_bias(config), **normalised_whole(config)}
    count = config.depth("num_experts", 64)
    return {**shape, "experts": experts(config, count, _CHOSEN, ffn=shape["ffn"], per_token=8)}


def _minimax_m2(config: Config) -> Shape:
    rotated = config.count("rotary_dim", 128) / config.count("head_dim", 128)
    config.leave("num_mtp_modules", 0, why=" (not counted)")
    config.only("attn_type_list", [1] * config.depth("num_hidden_layers"))
    shape = {**llama(config, theta=5e6, rotated=rotated), **normalised_whole(config)}
    count = config.depth("num_local_experts")
    mixture = experts(config, count, _CHOSEN, ffn=shape["ffn"], per_token=8, router_bias=True)
    return {**shape, "head_width": config.count("head_dim", 128), "experts": mixture}


def _gpt_oss(config: Config) -> Shape:
    shape = {**llama(config, theta=150000.0, eps=1e-5), **attention_bias(config, usual=True), **window(config, 128)}
    config.notes += ["biases of experts (not counted)", "sinks of attention (not counted)"]
    count = config.depth("num_local_experts")
    mixture = experts(config, count, _CHOSEN, ffn=shape["ffn"], per_token=4, router_bias=True)
    return {**shape, "head_width": config.count("head_dim", 64), "experts": mixture}


def _llama4(config: Config) -> Shape:
    """Every so many-th block has experts; `intermediate_size` is theirs."""
    shape = {**llama(config, theta=500000.0, eps=1e-5), **attention_bias(config)}
    config.leave("attention_chunk_size", usual=8192)
    config.leave("no_rope_layer_interval", usual=4)
    layers, step = shape["layers"], config.depth("interleave_moe_layer_step", 1)
    routed = set(config.places("moe_layers", layers)) or set(range(step - 1, layers, step))
    mixture = experts(
        config, config.depth("num_local_experts"), _CHOSEN, ffn=shape["ffn"], per_token=1, shared=1,
        dense=set(range(layers)) - routed,
    )  # fmt: skip
    width = config.count("head_dim", 128)
    return {**shape, "ffn": config.count("intermediate_size_mlp"), "head_width": width, "experts": mixture}


# ---- Qwen -----------------------------------------------------------------------------------------------------------


def _some_dense(config: Config, layers: int) -> set[int]:
    step = config.depth("decoder_sparse_step", 1)
    dense = {number for number in range(layers) if (number + 1) % step}
    return dense | set(config.places("mlp_only_layers", layers))


def _qwen2_moe(config: Config) -> Shape:
    """Its one shared expert is as wide as several of the others."""
    shape = {**qwen2(config), "query_bias": config.switch("qkv_bias", True)}
    ffn, wide = config.count("moe_intermediate_size"), config.count("shared_expert_intermediate_size")
    if wide % ffn:
        raise Unreadable(f"shared_expert_intermediate_size = {wide} is no multiple of moe_intermediate_size = {ffn}")
    mixture = experts(
        config, config.depth("num_experts"), _CHOSEN, ffn=ffn, per_token=4, shared=wide // ffn, shared_gate=True,
        dense=_some_dense(config, shape["layers"]),
    )  # fmt: skip
    return {**shape, "experts": mixture}


def _qwen3_moe(config: Config) -> Shape:
    shape = qwen3(config)
    count, ffn = config.depth("num_experts"), config.count("moe_intermediate_size")
    dense = _some_dense(config, shape["layers"])
    return {**shape, "experts": experts(config, count, _CHOSEN, ffn=ffn, per_token=8, dense=dense)}


# ---- DeepSeek and GLM -----------------------------------------------------------------------------------------------


def _first_dense(config: Config, layers: int, usual: int) -> set[int]:
    return set(range(min(layers, config.depth("first_k_dense_replace", usual, least=0))))


def _deepseek_v2(config: Config) -> Shape:
    shape = _latent_llama(config)
    mixture = experts(
        config, config.depth("n_routed_experts"), _CHOSEN, dense=_first_dense(config, shape["layers"], 0),
        ffn=config.count("moe_intermediate_size"), shared=config.depth("n_shared_experts", 2, least=0),
    )  # fmt: skip
    return {**shape, "experts": mixture}


def _deepseek_v3(config: Config) -> Shape:
    """Also Kimi K2."""
    shape = _latent_llama(config)
    mixture = experts(
        config, config.depth("n_routed_experts"), _CHOSEN, per_token=8, dense=_first_dense(config, shape["layers"], 3),
        ffn=config.count("moe_intermediate_size"), shared=config.depth("n_shared_experts", least=0), router_bias=True,
    )  # fmt: skip
    return {**shape, "experts": mixture, "prediction_layers": config.depth("num_nextn_predict_layers", 0, least=0)}


def _latent_llama(config: Config) -> Shape:
    config.only("moe_layer_freq", 1)
    config.only("attention_bias", False)
    config.only("mlp_bias", False)
    return {**llama(config), **latent(config)}


def _glm4_moe(config: Config) -> Shape:
    shape = {**llama(config, rotated=0.5, eps=1e-5), "query_bias": config.switch("attention_bias", False)}
    mixture = experts(
        config, config.depth("n_routed_experts"), _CHOSEN, per_token=8, dense=_first_dense(config, shape["layers"], 1),
        ffn=config.count("moe_intermediate_size"), shared=config.depth("n_shared_experts", 1, least=0),
        router_bias=True,
    )  # fmt: skip
    further = config.depth("num_nextn_predict_layers", 0, least=0)
    return {
        **shape, "query_norm": config.switch("use_qk_norm", False), "experts": mixture, "prediction_layers": further,
    }  # fmt: skip


MIXTURES: Mapping[str, Callable[[Config], Shape]] = {
    "mixtral": _mixtral, "granitemoe": _granitemoe, "olmoe": _olmoe, "gpt_oss": _gpt_oss, "minimax_m2": _minimax_m2,
    "llama4": _llama4, "llama4_text": _llama4, "qwen2_moe": _qwen2_moe, "qwen3_moe": _qwen3_moe,
    "qwen3_vl_moe_text": _qwen3_moe, "deepseek_v2": _deepseek_v2, "deepseek_v3": _deepseek_v3,
    "kimi_k2": _deepseek_v3, "glm4_moe": _glm4_moe,
}  # fmt: skip
