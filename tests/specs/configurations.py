"""Small configurations, one of each kind that `[model] huggingface` takes, with the fields that published ones have."""

from __future__ import annotations

from typing import Any

__all__ = ["CONFIGURATIONS"]

_LLAMA: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "vocab_size": 288, "max_position_embeddings": 64, "rms_norm_eps": 1e-6,
    "rope_theta": 5e5, "hidden_act": "silu", "tie_word_embeddings": False,
}  # fmt: skip
_GPT = {"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": 288}
_BERT = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 288,
    "max_position_embeddings": 64,
}  # fmt: skip
_T5 = {
    "d_model": 32,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "d_kv": 6,
    "d_ff": 48,
    "vocab_size": 288,
}
_DEEPSEEK = {
    **_LLAMA, "num_key_value_heads": 4, "q_lora_rank": 12, "kv_lora_rank": 8, "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4, "v_head_dim": 6, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1,
    "moe_intermediate_size": 12, "first_k_dense_replace": 1, "n_group": 2, "topk_group": 1,
}  # fmt: skip
_QWEN3 = {**_LLAMA, "head_dim": 10}

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "gpt2": {"model_type": "gpt2", **_GPT, "n_positions": 64, "n_inner": None},
    "gpt2, wider": {"model_type": "gpt2", **_GPT, "n_positions": 64, "n_inner": 40, "activation_function": "relu"},
    "gpt_neox": {"model_type": "gpt_neox", **_BERT, "use_parallel_residual": True},
    "gpt_neox, in turn": {"model_type": "gpt_neox", **_BERT, "use_parallel_residual": False},
    "opt": {
        "model_type": "opt", "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 48,
        "vocab_size": 288, "max_position_embeddings": 64, "word_embed_proj_dim": 32, "do_layer_norm_before": True,
    },
    "bloom": {"model_type": "bloom", "hidden_size": 32, "n_layer": 3, "n_head": 4, "vocab_size": 288},
    "mpt": {
        "model_type": "mpt", "d_model": 32, "n_layers": 3, "n_heads": 4, "vocab_size": 288, "max_seq_len": 64,
        "expansion_ratio": 4, "no_bias": True, "attn_config": {"alibi": True},
    },
    "llama": {"model_type": "llama", **_LLAMA},
    "llama, tied": {"model_type": "llama", **_LLAMA, "tie_word_embeddings": True, "head_dim": 8},
    "llama, newer": {
        "model_type": "llama", **{key: value for key, value in _LLAMA.items() if key != "rope_theta"},
        "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"},
    },
    "mistral": {"model_type": "mistral", **_LLAMA, "head_dim": 10, "sliding_window": 16},
    "mixtral": {"model_type": "mixtral", **_LLAMA, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2": {"model_type": "qwen2", **_LLAMA, "use_sliding_window": False, "sliding_window": 16},
    "qwen3": {"model_type": "qwen3", **_QWEN3},
    "qwen3_moe": {
        "model_type": "qwen3_moe", **_QWEN3, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12,
        "decoder_sparse_step": 1, "mlp_only_layers": [1],
    },
    "qwen3_moe, every other": {
        "model_type": "qwen3_moe", **_QWEN3, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12,
        "decoder_sparse_step": 2, "mlp_only_layers": [],
    },
    "deepseek_v3": {"model_type": "deepseek_v3", **_DEEPSEEK},
    "deepseek_v3, plain queries": {"model_type": "deepseek_v3", **_DEEPSEEK, "q_lora_rank": None},
    "bert": {"model_type": "bert", **_BERT, "type_vocab_size": 2},
    "t5": {"model_type": "t5", **_T5, "feed_forward_proj": "relu"},
    "t5, gated": {"model_type": "t5", **_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}  # fmt: skip
