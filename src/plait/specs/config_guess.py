"""A decoder of a kind that nobody has read here, by what its fields tell: for planning, which needs sizes above all.

    rms_norm_eps or layer_norm_eps     which norm        hidden_act      SiLU: a gated feed-forward part; ReLU: a plain
                                                                         one; GELU: gated beside RMSNorms
    num_experts, n_routed_experts …    a mixture         kv_lora_rank    latent attention

All fields that were not asked for, and that change more than a run, are noted. Fields of what a decoder's shape has no
words for (state spaces, recurrence, an encoder) are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from plait.specs.config_fields import Config, Unreadable
from plait.specs.config_parts import ACTIVATIONS, GATED, Shape, experts, latent, rotary, sizes, window
from plait.specs.model import Experts
from plait.specs.wording import shown

__all__ = ["guessed", "lacking"]

_NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
_OF_LAYER_NORM = ("layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon", "norm_epsilon")
_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_CHOSEN = ("num_experts_per_tok", "experts_per_token", "moe_topk", "moe_k", "top_k_experts")
_SHARED = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
# whoever saves a configuration leaves out what is as in transformers' base class, where embeddings are tied
_GRANTED = {"tie_word_embeddings": "true", "num_key_value_heads": "num_attention_heads"}
_PLAIN = {**ACTIVATIONS, "relu2": "relu", "relu_squared": "relu"}
_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
_OTHER = re.compile(  # what is no attention, or no decoder
    r"mamba|ssm|rwkv|lru_|linear_(attn|num|key|value|conv)|lightning|d_conv|conv_(kernel|L_cache)|hybrid|time_mix|mlstm"
    r"|recurrent|block_types|layers_block_type|is_encoder_decoder|type_vocab_size|cross_attention"
)
_OF_A_RUN = re.compile(  # what changes no weight and no cost, or is of the file
    r"model_type|architectures|auto_map|(torch_)?dtype|transformers_version|_name_or_path|.*token_id|.*dropout.*|.*_pdrop"
    r"|use_cache|initializer_.*|max_(position_embeddings|sequence_length|window_layers)|n_positions|model_max_length"
    r"|seq_length|pretraining_tp|output_.*|router_aux_.*|.*aux_loss.*|_attn_implementation.*|id2label|label2id|torchscript"
    r"|return_dict|chunk_size_feed_forward|problem_type|tokenizer_class|bos_token|eos_token|is_decoder|use_return_dict"
)


def lacking(fields: Mapping[str, Any]) -> list[str]:
    """The sizes that a configuration does not have under their usual names: without them it can't be guessed at."""
    return [name for name in _NEEDED if fields.get(name) is None]


def guessed(config: Config) -> Shape:
    """The nearest shape. Raises Unreadable for what is no decoder with attention in every block."""
    _require_decoder(config)
    act = config.said("hidden_act", "hidden_activation", "activation_function")
    silu = config.word(act, "silu", {**_PLAIN, **GATED}) == "swiglu"
    layer = not config.has("rms_norm_eps") and (any(map(config.has, _OF_LAYER_NORM)) or not silu)
    form = config.word(act, "silu", {**GATED, **_PLAIN} if layer else {**_PLAIN, **GATED})
    bias = config.switch(config.said("use_bias", "bias", "mlp_bias"), layer and not silu)  # GPT's products have them
    shape: Shape = {
        **sizes(config), **rotary(config), **_window(config), "activation": form,
        "norm": "layer" if layer else "rms", "norm_bias": layer, "bias": bias,
        "norm_eps": config.number(config.said("rms_norm_eps", *_OF_LAYER_NORM, "norm_eps"), 1e-6),
        "query_bias": config.switch(config.said("attention_bias", "qkv_bias", "use_qkv_bias"), bias),
        "query_norm": config.switch(config.said("use_qk_norm", "qk_layernorm", "qk_norm"), False),
        "tie_embeddings": config.switch("tie_word_embeddings", True), "head_width": config.maybe("head_dim"),
    }  # fmt: skip
    shape |= latent(config) if config.has("kv_lora_rank") else {}
    shape["experts"] = _mixture(config, shape)
    config.notes[:0] = _told(config)
    return shape


def _told(config: Config) -> list[str]:
    """The kind, what was taken for granted, and all fields that nobody asked for but for those of a run."""
    unasked = config.unasked()
    kind = f"model_type = {shown(unasked.get('model_type', ''))}, which is not known here"
    granted = [f"{name}, left out and taken for {value}" for name, value in _GRANTED.items() if not config.has(name)]
    left = [f"{name} = {shown(value)}" for name, value in unasked.items() if not _OF_A_RUN.fullmatch(name)]
    return [kind, *granted, *left]


def _window(config: Config) -> Shape:
    if config.has("layer_types"):
        return window(config)
    config.leave("sliding_window")
    return {}


def _require_decoder(config: Config) -> None:
    for name, value in config.unasked().items():
        if _OTHER.search(name):
            raise Unreadable(f"{name} = {shown(value)}: no decoder with attention in every block, and not known here")
    for name, known in (("layer_types", _ATTENTION), ("attn_type_list", {1})):
        if other := config.kinds(name) - known:
            words = ", ".join(sorted(map(str, other)))
            raise Unreadable(f"{name} has {words}, a shape that Plait has no words for")
    for one in config.kinds("architectures"):
        if re.search("MaskedLM|PreTraining|Classification", str(one)):
            raise Unreadable(f"architectures has {one}, which is no decoder, and model_type is not known here")


def _mixture(config: Config, shape: Shape) -> Experts | None:
    name = config.said(*_COUNTS)
    if not config.has(name) or config.depth(name, least=0) <= 1:
        return None
    layers, step = shape["layers"], config.depth("decoder_sparse_step", 1)
    first = config.depth("first_k_dense_replace", 0, least=0)
    dense = {number for number in range(layers) if number < first or (number + 1) % step}
    dense |= set(config.places("mlp_only_layers", layers))
    ffn, wide = config.count("moe_intermediate_size", shape["ffn"]), config.maybe("shared_expert_intermediate_size")
    shared = config.depth(config.said(*_SHARED), round((wide or 0) / ffn), least=0)
    return experts(config, config.depth(name), config.said(*_CHOSEN), ffn=ffn, dense=dense, shared=shared)
