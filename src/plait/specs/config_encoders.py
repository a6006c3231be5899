"""Encoders, and encoders with a decoder, as their configurations say them: BERT, RoBERTa and its heirs, T5."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from plait.specs.config_fields import Config
from plait.specs.config_parts import ACTIVATIONS, Shape

__all__ = ["ENCODERS"]


def _bert(config: Config) -> Shape:
    config.only("position_embedding_type", "absolute")
    return {
        "family": "bert", "layers": config.depth("num_hidden_layers"), "hidden": config.count("hidden_size"),
        "heads": config.depth("num_attention_heads"), "ffn": config.count("intermediate_size"),
        "vocab": config.count("vocab_size"), "norm_eps": config.number("layer_norm_eps", 1e-12),
        "activation": config.word("hidden_act", "gelu", ACTIVATIONS), "embedding_norm": True,
        "token_types": config.count("type_vocab_size", 2, least=0),
        "tie_embeddings": config.switch("tie_word_embeddings", True),
    }  # fmt: skip


def _roberta(config: Config) -> Shape:
    """Also CamemBERT and XLM-RoBERTa."""
    config.notes.append("a head that asks for no next sentence (counted as if it did)")
    return _bert(config)


_T5_FORMS = {"relu": "relu", "gated-gelu": "geglu", "gated-silu": "swiglu", "gelu": "gelu"}


def _t5(config: Config, *, form: str = "relu", tied: bool = True) -> Shape:
    encoder = config.depth("num_layers")
    decoder = config.depth("num_decoder_layers", encoder)
    return {
        "family": "t5", "layers": encoder + decoder, "encoder_layers": encoder, "hidden": config.count("d_model"),
        "heads": config.depth("num_heads"), "head_width": config.count("d_kv"),
        "ffn": config.count("d_ff"), "vocab": config.count("vocab_size"), "positions": "relative",
        "relative_buckets": config.count("relative_attention_num_buckets", 32), "norm": "rms",
        "norm_eps": config.number("layer_norm_epsilon", 1e-6), "bias": False,
        "activation": config.word("feed_forward_proj", form, _T5_FORMS),
        "tie_embeddings": config.switch("tie_word_embeddings", tied),
    }  # fmt: skip


def _mt5(config: Config) -> Shape:
    return _t5(config, form="gated-gelu", tied=False)


ENCODERS: Mapping[str, Callable[[Config], Shape]] = {
    "bert": _bert, "roberta": _roberta, "camembert": _roberta, "xlm-roberta": _roberta, "t5": _t5, "mt5": _mt5,
}  # fmt: skip
