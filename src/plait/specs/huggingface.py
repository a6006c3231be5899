"""The `config.json` of a Hugging Face checkpoint, read as a shape: no torch, no transformers, no network.

    {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, …}  ──>  keys of a ModelSpec

Each kind of model has a function that says which field is which. Sizes have to be there; what else a published
configuration may leave out has the default that transformers gives it. What a field says beyond a shape's words is
refused by name where it would change weights or costs, and left alone where it doesn't (scaled positions).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from plait.errors import Problem
from plait.specs.config_fields import Config, Unreadable
from plait.specs.model import Experts, LatentAttention
from plait.specs.wording import cut, kind_of, nearest, shown

__all__ = ["KINDS", "shape_in"]

_KEY = "model.huggingface"
_LARGEST_FILE = 2**24  # bytes: a configuration has some thousands


_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu", "gelu_fast": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu"}
_GATED = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu", "gelu_new": "geglu", "gelu_pytorch_tanh": "geglu"}
_Shape = dict[str, Any]


# ---- decoders with learned positions, or none -----------------------------------------------------------------------


def _gpt2(config: Config) -> _Shape:
    hidden = config.count("n_embd")
    return {
        "layers": config.depth("n_layer"), "hidden": hidden, "heads": config.depth("n_head"),
        "ffn": config.maybe("n_inner") or 4 * hidden, "vocab": config.count("vocab_size"),
        "norm_eps": config.number("layer_norm_epsilon", 1e-5),
        "activation": config.word("activation_function", "gelu_new", _ACTIVATIONS),
        "tie_embeddings": config.switch("tie_word_embeddings", True),
    }  # fmt: skip


def _gpt_neox(config: Config) -> _Shape:
    hidden = config.count("hidden_size")
    return {
        "layers": config.depth("num_hidden_layers"), "hidden": hidden,
        "heads": config.depth("num_attention_heads"), "ffn": config.count("intermediate_size"),
        "vocab": config.count("vocab_size"), "positions": "rope",
        "rope_theta": config.number("rotary_emb_base", 10000.0), "norm_eps": config.number("layer_norm_eps", 1e-5),
        "activation": config.word("hidden_act", "gelu", _ACTIVATIONS),
        "tie_embeddings": config.switch("tie_word_embeddings", False),
        "branches": "parallel" if config.switch("use_parallel_residual", True) else "serial",
    }  # fmt: skip


def _opt(config: Config) -> _Shape:
    hidden = config.count("hidden_size")
    config.only("word_embed_proj_dim", hidden)
    config.only("do_layer_norm_before", True)
    return {
        "layers": config.depth("num_hidden_layers"), "hidden": hidden,
        "heads": config.depth("num_attention_heads"), "ffn": config.count("ffn_dim"),
        "vocab": config.count("vocab_size"),
        "activation": config.word("activation_function", "relu", _ACTIVATIONS),
        "bias": config.switch("enable_bias", True), "tie_embeddings": config.switch("tie_word_embeddings", True),
    }  # fmt: skip


def _bloom(config: Config) -> _Shape:
    return {
        "layers": config.depth(config.said("n_layer", "num_hidden_layers")),
        "hidden": config.count(config.said("hidden_size", "n_embed")),
        "heads": config.depth(config.said("n_head", "num_attention_heads")),
        "vocab": config.count("vocab_size"), "positions": "alibi", "embedding_norm": True,
        "norm_eps": config.number("layer_norm_epsilon", 1e-5),
        "tie_embeddings": config.switch("tie_word_embeddings", True),
    }  # fmt: skip


def _mpt(config: Config) -> _Shape:
    hidden, attention = config.count("d_model"), config.part("attn_config")
    alibi = attention.switch("alibi", True)
    attention.only("qk_ln", False)
    return {
        "layers": config.depth("n_layers"), "hidden": hidden, "heads": config.depth("n_heads"),
        "ffn": config.count("expansion_ratio", 4) * hidden, "vocab": config.count("vocab_size"),
        "positions": "alibi" if alibi else "learned", "bias": not config.switch("no_bias", True),
        "norm_eps": config.number("layer_norm_epsilon", 1e-5), "tie_embeddings": True,
    }  # fmt: skip


# ---- decoders with rotary positions ---------------------------------------------------------------------------------


def _llama(config: Config) -> _Shape:
    heads = config.depth("num_attention_heads")
    config.only("mlp_bias", False)
    rope = config.part("rope_parameters")  # where newer configurations keep what rope_theta was
    return {
        "layers": config.depth("num_hidden_layers"), "hidden": config.count("hidden_size"), "heads": heads,
        "kv_heads": config.depth("num_key_value_heads", heads), "ffn": config.count("intermediate_size"),
        "vocab": config.count("vocab_size"), "positions": "rope",
        "rope_theta": config.number("rope_theta", rope.number("rope_theta", 10000.0)),
        "norm": "rms", "norm_eps": config.number("rms_norm_eps", 1e-6),
        "activation": config.word("hidden_act", "silu", _GATED), "bias": False,
        "tie_embeddings": config.switch("tie_word_embeddings", False), "head_width": config.maybe("head_dim"),
    }  # fmt: skip


def _plain_llama(config: Config) -> _Shape:
    config.only("attention_bias", False)
    return _llama(config)


def _mistral(config: Config) -> _Shape:
    return {**_llama(config), "window": config.maybe("sliding_window")}


def _mixtral(config: Config) -> _Shape:
    shape = _mistral(config)
    count, ffn = config.depth("num_local_experts"), shape["ffn"]
    return {**shape, "experts": _experts(config, count, "num_experts_per_tok", ffn=ffn, per_token=2)}


def _qwen2(config: Config) -> _Shape:
    window = config.maybe("sliding_window") if config.switch("use_sliding_window", False) else None
    if window is not None and config.depth("max_window_layers", 28, least=0) > 0:
        raise Unreadable("use_sliding_window with max_window_layers: windows in some layers only are not known here")
    return {**_llama(config), "window": window, "query_bias": True}


def _qwen3(config: Config) -> _Shape:
    bias = config.switch("attention_bias", False)
    config.only("attention_bias", False)
    return {**_qwen2(config), "query_bias": bias, "query_norm": True, "head_width": config.count("head_dim", 128)}


def _qwen3_moe(config: Config) -> _Shape:
    shape = _qwen3(config)
    layers, step = shape["layers"], config.depth("decoder_sparse_step", 1)
    dense = {number for number in range(layers) if (number + 1) % step}
    count, ffn = config.depth("num_experts"), config.count("moe_intermediate_size")
    dense |= set(config.places("mlp_only_layers", layers))
    return {**shape, "experts": _experts(config, count, "num_experts_per_tok", ffn=ffn, per_token=8, dense=dense)}


def _deepseek_v3(config: Config) -> _Shape:
    shape = _plain_llama(config)
    layers = shape["layers"]
    config.only("moe_layer_freq", 1)
    dense = set(range(min(layers, config.depth("first_k_dense_replace", 3, least=0))))
    latent = LatentAttention(
        query_rank=config.maybe("q_lora_rank") or 0, kv_rank=config.count("kv_lora_rank"),
        plain=config.count("qk_nope_head_dim"), rotated=config.count("qk_rope_head_dim"),
        value=config.count("v_head_dim"),
    )  # fmt: skip
    experts = _experts(
        config, config.depth("n_routed_experts"), "num_experts_per_tok", per_token=8, dense=dense,
        ffn=config.count("moe_intermediate_size"), shared=config.depth("n_shared_experts", least=0),
        router_bias=True,
    )  # fmt: skip
    predictions = config.depth("num_nextn_predict_layers", 0, least=0)
    kept = {**shape, "kv_heads": shape["heads"], "head_width": None}  # latent attention has no fewer, nor this width
    return {**kept, "latent": latent, "experts": experts, "prediction_layers": predictions}


def _experts(
    config: Config, count: int, chosen: str, *, ffn: int, per_token: int, dense: set[int] | None = None, **more: Any
) -> Experts:
    sent = config.depth(chosen, per_token)
    if sent > count:
        raise Unreadable(f"{chosen} = {sent} is more than the {count} experts")
    return Experts(count=count, per_token=sent, ffn=ffn, dense=tuple(sorted(dense or ())), **more)


# ---- encoders -------------------------------------------------------------------------------------------------------


def _bert(config: Config) -> _Shape:
    config.only("position_embedding_type", "absolute")
    return {
        "family": "bert", "layers": config.depth("num_hidden_layers"), "hidden": config.count("hidden_size"),
        "heads": config.depth("num_attention_heads"), "ffn": config.count("intermediate_size"),
        "vocab": config.count("vocab_size"), "norm_eps": config.number("layer_norm_eps", 1e-12),
        "activation": config.word("hidden_act", "gelu", _ACTIVATIONS), "embedding_norm": True,
        "token_types": config.count("type_vocab_size", 2, least=0),
        "tie_embeddings": config.switch("tie_word_embeddings", True),
    }  # fmt: skip


_T5_FORMS = {"relu": "relu", "gated-gelu": "geglu", "gated-silu": "swiglu", "gelu": "gelu"}


def _t5(config: Config) -> _Shape:
    encoder = config.depth("num_layers")
    decoder = config.depth("num_decoder_layers", encoder)
    return {
        "family": "t5", "layers": encoder + decoder, "encoder_layers": encoder, "hidden": config.count("d_model"),
        "heads": config.depth("num_heads"), "head_width": config.count("d_kv"),
        "ffn": config.count("d_ff"), "vocab": config.count("vocab_size"), "positions": "relative",
        "relative_buckets": config.count("relative_attention_num_buckets", 32), "norm": "rms",
        "norm_eps": config.number("layer_norm_epsilon", 1e-6), "bias": False,
        "activation": config.word("feed_forward_proj", "relu", _T5_FORMS),
        "tie_embeddings": config.switch("tie_word_embeddings", True),
    }  # fmt: skip


KINDS: Mapping[str, Callable[[Config], _Shape]] = {
    "gpt2": _gpt2, "gpt_neox": _gpt_neox, "opt": _opt, "bloom": _bloom, "mpt": _mpt, "llama": _plain_llama,
    "mistral": _mistral, "mixtral": _mixtral, "qwen2": _qwen2, "qwen3": _qwen3, "qwen3_moe": _qwen3_moe,
    "deepseek_v3": _deepseek_v3, "bert": _bert, "t5": _t5,
}  # fmt: skip


# ---- the file -------------------------------------------------------------------------------------------------------


def shape_in(place: str) -> _Shape | Problem:
    """The keys of a ModelSpec that the configuration in a directory (its config.json) or a file says; what is wrong
    with it otherwise."""
    path = Path(place)
    try:
        path = path.expanduser()
        path = path / "config.json" if path.is_dir() else path
        return _shape(_fields_in(path))
    except Unreadable as error:
        reason = str(error)
    except (OSError, ValueError, RuntimeError) as error:  # too deep a file and a user without a home are RuntimeErrors
        reason = (error.strerror if isinstance(error, OSError) else None) or cut(str(error))
    return Problem(key=_KEY, message=f"{path}: {reason}", legal="a directory with a config.json, or such a file")


def _fields_in(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():
        raise Unreadable("it is no regular file")  # a pipe may never end
    if path.stat().st_size > _LARGEST_FILE:
        raise Unreadable("it is larger than a configuration can be")
    fields = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(fields, dict):
        raise Unreadable(f"it holds {kind_of(fields)} in place of a table")
    return cast("dict[str, Any]", fields)


def _shape(fields: Mapping[str, Any]) -> _Shape:
    kind = fields.get("model_type")
    if kind is None:
        raise Unreadable(f"model_type is missing; known are {', '.join(KINDS)}")
    if not isinstance(kind, str) or kind not in KINDS:
        near = f"the nearest is {nearest(kind, KINDS)[0]}; " if isinstance(kind, str) else ""
        raise Unreadable(f"model_type = {shown(kind)} is not known here; {near}known are {', '.join(KINDS)}")
    shape = KINDS[kind](Config(fields))
    return {**shape, "kv_heads": shape.get("kv_heads", shape["heads"]), "ffn": shape.get("ffn", 4 * shape["hidden"])}
