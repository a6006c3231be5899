"""Decoders with LayerNorm, as their configurations say them: GPT-2 and its heirs, Falcon, Phi, StableLM, Cohere, …

Each kind of model has a function that says which field is which. Sizes have to be there; what else a published
configuration may leave out has the default that transformers gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from plait.specs.config_fields import Config
from plait.specs.config_parts import ACTIVATIONS, GATED, Shape, attention_bias, rotary, sizes, window

__all__ = ["DECODERS"]


# ---- learned positions, or none -------------------------------------------------------------------------------------


def _gpt2(config: Config) -> Shape:
    hidden = config.count("n_embd")
    return {
        "layers": config.depth("n_layer"), "hidden": hidden, "heads": config.depth("n_head"),
        "ffn": config.maybe("n_inner") or 4 * hidden, "vocab": config.count("vocab_size"),
        "norm_eps": config.number("layer_norm_epsilon", 1e-5),
        "activation": config.word("activation_function", "gelu_new", ACTIVATIONS),
        "tie_embeddings": config.switch("tie_word_embeddings", True),
    }  # fmt: skip


def _gpt_bigcode(config: Config) -> Shape:
    shape = _gpt2(config)
    return {**shape, "kv_heads": 1 if config.switch("multi_query", True) else shape["heads"]}


def _gpt_neo(config: Config) -> Shape:
    hidden = config.count("hidden_size")
    config.leave("window_size", usual=256, why=" in some blocks alone")
    return {
        "layers": config.depth("num_layers"), "hidden": hidden, "heads": config.depth("num_heads"),
        "ffn": config.maybe("intermediate_size") or 4 * hidden, "vocab": config.count("vocab_size"),
        "norm_eps": config.number("layer_norm_epsilon", 1e-5), "query_bias": False,
        "activation": config.word("activation_function", "gelu_new", ACTIVATIONS),
        "tie_embeddings": config.switch("tie_word_embeddings", True),
    }  # fmt: skip


def _opt(config: Config) -> Shape:
    hidden = config.count("hidden_size")
    config.only("word_embed_proj_dim", hidden)
    config.only("do_layer_norm_before", True)
    return {
        "layers": config.depth("num_hidden_layers"), "hidden": hidden,
        "heads": config.depth("num_attention_heads"), "ffn": config.count("ffn_dim"),
        "vocab": config.count("vocab_size"),
        "activation": config.word("activation_function", "relu", ACTIVATIONS),
        "bias": config.switch("enable_bias", True), "tie_embeddings": config.switch("tie_word_embeddings", True),
    }  # fmt: skip


def _bloom(config: Config) -> Shape:
    return {
        "layers": config.depth(config.said("n_layer", "num_hidden_layers")),
        "hidden": config.count(config.said("hidden_size", "n_embed")),
        "heads": config.depth(config.said("n_head", "num_attention_heads")),
        "vocab": config.count("vocab_size"), "positions": "alibi", "embedding_norm": True,
        "norm_eps": config.number("layer_norm_epsilon", 1e-5),
        "tie_embeddings": config.switch("tie_word_embeddings", True),
    }  # fmt: skip


def _mpt(config: Config) -> Shape:
    hidden, attention = config.count("d_model"), config.part("attn_config")
    alibi = attention.switch("alibi", True)
    attention.only("qk_ln", False)
    return {
        "layers": config.depth("n_layers"), "hidden": hidden, "heads": config.depth("n_heads"),
        "ffn": config.count("expansion_ratio", 4) * hidden, "vocab": config.count("vocab_size"),
        "positions": "alibi" if alibi else "learned", "bias": not config.switch("no_bias", True),
        "norm_eps": config.number("layer_norm_epsilon", 1e-5), "tie_embeddings": True,
    }  # fmt: skip


# ---- rotary positions -----------------------------------------------------------------------------------------------


def _gpt_neox(config: Config) -> Shape:
    return {
        **sizes(config), **rotary(config, rotated=0.25, name="rotary_pct"),
        "norm_eps": config.number("layer_norm_eps", 1e-5),
        "activation": config.word("hidden_act", "gelu", ACTIVATIONS),
        "tie_embeddings": config.switch("tie_word_embeddings", False),
        "branches": "parallel" if config.switch("use_parallel_residual", True) else "serial",
    }  # fmt: skip


def _gptj(config: Config) -> Shape:
    """Also Salesforce's CodeGen."""
    shape = _gpt2(config)
    config.leave("rotary_dim", shape["hidden"] // shape["heads"], usual=64)
    config.notes += ["biases of the head (not counted)", "attention without biases (behind it counted)"]
    tied = config.switch("tie_word_embeddings", False)
    return {**shape, "positions": "rope", "query_bias": False, "branches": "one-norm", "tie_embeddings": tied}


def _falcon(config: Config) -> Shape:
    hidden, heads = config.count("hidden_size"), config.depth("num_attention_heads")
    newer = config.switch("new_decoder_architecture", False)
    shared = config.switch("multi_query", True) and not newer
    kv_heads = 1 if shared else config.depth("num_kv_heads", heads) if newer else heads
    two = config.depth("num_ln_in_parallel_attn", 2 if newer else 1) == 2
    parallel = "parallel" if two else "one-norm"
    positions = {"positions": "alibi"} if config.switch("alibi", False) else rotary(config)
    return {
        **positions, "layers": config.depth("num_hidden_layers"), "hidden": hidden, "heads": heads,
        "kv_heads": kv_heads, "ffn": config.maybe("ffn_hidden_size") or 4 * hidden,
        "vocab": config.count("vocab_size"), "norm_eps": config.number("layer_norm_epsilon", 1e-5), "norm_bias": True,
        "activation": config.word("activation", "gelu", ACTIVATIONS), "bias": config.switch("bias", False),
        "branches": parallel if config.switch("parallel_attn", True) else "serial",
        "tie_embeddings": config.switch("tie_word_embeddings", True),
    }  # fmt: skip


def _phi(config: Config) -> Shape:
    config.leave("qk_layernorm", False, why=" (not counted)")
    config.notes.append("biases of the head (not counted)")
    return {
        **sizes(config), **rotary(config, rotated=0.5), "branches": "one-norm",
        "norm_eps": config.number("layer_norm_eps", 1e-5),
        "activation": config.word("hidden_act", "gelu_new", ACTIVATIONS),
        "tie_embeddings": config.switch("tie_word_embeddings", False),
    }  # fmt: skip


def _starcoder2(config: Config) -> Shape:
    return {
        **sizes(config), **rotary(config), "window": config.maybe("sliding_window"),
        "norm_eps": config.number("norm_epsilon", 1e-5), "norm_bias": True,
        "activation": config.word("hidden_act", "gelu_pytorch_tanh", ACTIVATIONS),
        "bias": config.switch("use_bias", True), "tie_embeddings": config.switch("tie_word_embeddings", True),
    }  # fmt: skip


def _nemotron(config: Config) -> Shape:
    """Its feed-forward part squares what ReLU lets pass."""
    squared = {"relu2": "relu"}
    config.notes.append("squares of relu")
    config.leave("mlp_bias", False, why=" (not counted)")
    return {
        **sizes(config), **rotary(config, rotated=0.5), **attention_bias(config), "bias": False, "norm_bias": True,
        "norm_eps": config.number("norm_eps", 1e-5), "activation": config.word("hidden_act", "relu2", squared),
        "tie_embeddings": config.switch("tie_word_embeddings", False), "head_width": config.maybe("head_dim"),
    }  # fmt: skip


# ---- rotary positions, and a gated feed-forward part ----------------------------------------------------------------


def _gated(config: Config, *, tied: bool, rotated: float = 1.0) -> Shape:
    return {
        **sizes(config), **rotary(config, rotated=rotated), "bias": False,
        "norm_eps": config.number("layer_norm_eps", 1e-5), "activation": config.word("hidden_act", "silu", GATED),
        "tie_embeddings": config.switch("tie_word_embeddings", tied),
    }  # fmt: skip


def _stablelm(config: Config) -> Shape:
    config.leave("qk_layernorm", False, why=" (not counted)")
    parallel = config.switch("use_parallel_residual", False)
    return {
        **_gated(config, tied=False, rotated=0.25), "norm_bias": True, "branches": "one-norm" if parallel else "serial",
        "query_bias": config.switch("use_qkv_bias", False),
    }  # fmt: skip


def _cohere(config: Config) -> Shape:
    config.leave("use_qk_norm", False, why=" (not counted)")
    config.leave("logit_scale", 1.0, usual=0.0625)
    return {**_gated(config, tied=True), **attention_bias(config), "branches": "one-norm"}


def _cohere2(config: Config) -> Shape:
    return {**_cohere(config), **window(config, 4096)}


def _olmo(config: Config) -> Shape:
    """Its norms have no weights."""
    config.leave("clip_qkv")
    config.notes.append("norms without weights (counted with)")
    return {**_gated(config, tied=False), **attention_bias(config)}


DECODERS: Mapping[str, Callable[[Config], Shape]] = {
    "gpt2": _gpt2, "gpt_bigcode": _gpt_bigcode, "gpt_neo": _gpt_neo, "gpt_neox": _gpt_neox, "gptj": _gptj,
    "codegen": _gptj, "opt": _opt, "bloom": _bloom, "mpt": _mpt, "falcon": _falcon, "phi": _phi,
    "starcoder2": _starcoder2, "nemotron": _nemotron, "stablelm": _stablelm, "cohere": _cohere, "cohere2": _cohere2,
    "olmo": _olmo,
}  # fmt: skip
