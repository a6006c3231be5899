"""Small configurations, one of each kind that `[model] huggingface` takes, with the fields that published ones have."""

from __future__ import annotations

from typing import Any

__all__ = ["CONFIGURATIONS", "UNKNOWN"]

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
_LAYER_NORM = {
    **{key: value for key, value in _LLAMA.items() if key not in ("rms_norm_eps", "tie_word_embeddings")},
    "layer_norm_eps": 1e-5,
}  # fmt: skip
_SPARSE = {**_LLAMA, "num_experts_per_tok": 2}
_ROBERTA = {**_BERT, "max_position_embeddings": 66, "type_vocab_size": 1}
_FALCON = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 288, "bias": False}
_GEMMA = {**_QWEN3, "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": True}
_GEMMA2 = {
    **{key: value for key, value in _GEMMA.items() if key != "hidden_act"}, "hidden_activation": "gelu_pytorch_tanh",
    "sliding_window": 16,
}  # fmt: skip
_GLM = {**_QWEN3, "attention_bias": True, "partial_rotary_factor": 0.5}

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
    "mt5": {"model_type": "mt5", **_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "roberta": {"model_type": "roberta", **_ROBERTA},
    "camembert": {"model_type": "camembert", **_ROBERTA},
    "xlm-roberta": {"model_type": "xlm-roberta", **_ROBERTA},
    # LayerNorm
    "gpt_bigcode": {"model_type": "gpt_bigcode", **_GPT, "n_positions": 64, "multi_query": True},
    "gpt_neo": {
        "model_type": "gpt_neo", "hidden_size": 32, "num_layers": 3, "num_heads": 4, "vocab_size": 288,
        "max_position_embeddings": 64, "attention_types": [[["global"], 3]], "window_size": 16,
    },
    "gptj": {"model_type": "gptj", **_GPT, "n_positions": 64, "rotary_dim": 4},
    "codegen": {"model_type": "codegen", **_GPT, "n_positions": 64, "rotary_dim": 4},
    "falcon": {"model_type": "falcon", **_FALCON, "multi_query": True, "parallel_attn": True},
    "falcon, newer": {"model_type": "falcon", **_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon, alibi": {
        "model_type": "falcon", **_FALCON, "alibi": True, "multi_query": False, "parallel_attn": False, "bias": True,
    },
    "phi": {"model_type": "phi", **_BERT, "partial_rotary_factor": 0.5, "hidden_act": "gelu_new"},
    "starcoder2": {
        "model_type": "starcoder2", **_BERT, "num_key_value_heads": 2, "use_bias": True, "sliding_window": 16,
        "hidden_act": "gelu_pytorch_tanh", "norm_epsilon": 1e-5,
    },
    "starcoder2, no biases": {
        "model_type": "starcoder2", **_BERT, "num_key_value_heads": 2, "use_bias": False,
        "hidden_act": "gelu_pytorch_tanh",
    },
    "nemotron": {
        "model_type": "nemotron", **_LAYER_NORM, "hidden_act": "relu2", "norm_eps": 1e-5, "head_dim": 10,
        "partial_rotary_factor": 0.5,
    },
    "stablelm": {"model_type": "stablelm", **_LAYER_NORM, "use_qkv_bias": True, "partial_rotary_factor": 0.25},
    "stablelm, parallel": {"model_type": "stablelm", **_LAYER_NORM, "use_parallel_residual": True},
    "cohere": {"model_type": "cohere", **_LAYER_NORM, "logit_scale": 0.0625},
    "cohere, whole norms": {"model_type": "cohere", **_LAYER_NORM, "use_qk_norm": True},
    "cohere2": {"model_type": "cohere2", **_LAYER_NORM, "sliding_window": 16},
    "olmo": {"model_type": "olmo", **_LLAMA, "clip_qkv": 8.0},
    # RMSNorm
    "llama, all biases": {"model_type": "llama", **_LLAMA, "attention_bias": True, "mlp_bias": True},
    "llama, biases of attention": {"model_type": "llama", **_LLAMA, "attention_bias": True},
    "phi3": {"model_type": "phi3", **_LLAMA, "sliding_window": 16, "pad_token_id": 0},
    "gemma": {"model_type": "gemma", **_GEMMA},
    "gemma2": {"model_type": "gemma2", **_GEMMA2},
    "gemma3_text": {"model_type": "gemma3_text", **_GEMMA2},
    "gemma3": {
        "model_type": "gemma3", "text_config": {"model_type": "gemma3_text", **_GEMMA2}, "vision_config": {"depth": 3},
    },
    "glm": {"model_type": "glm", **_GLM, "pad_token_id": 0},
    "glm4": {"model_type": "glm4", **_GLM, "pad_token_id": 0},
    "granite": {"model_type": "granite", **_LLAMA, "embedding_multiplier": 12.0, "tie_word_embeddings": True},
    "olmo2": {"model_type": "olmo2", **_LLAMA},
    "olmo3": {"model_type": "olmo3", **_LLAMA, "sliding_window": 16},
    "smollm3": {"model_type": "smollm3", **_LLAMA, "no_rope_layer_interval": 4, "pad_token_id": 0},
    "seed_oss": {"model_type": "seed_oss", **_QWEN3, "attention_bias": True},
    "internlm2": {"model_type": "internlm2", **_LLAMA, "bias": False},
    "baichuan": {"model_type": "baichuan", **_LLAMA, "num_key_value_heads": 4},
    "qwen2_vl": {"model_type": "qwen2_vl", **_LLAMA, "vision_config": {"depth": 3}},
    "qwen2_5_vl": {"model_type": "qwen2_5_vl", "text_config": {"model_type": "qwen2_5_vl_text", **_LLAMA}},
    "qwen2_vl_text": {"model_type": "qwen2_vl_text", **_LLAMA},
    "qwen2_5_vl_text": {"model_type": "qwen2_5_vl_text", **_LLAMA},
    "qwen3_vl_text": {"model_type": "qwen3_vl_text", **_QWEN3},
    # experts
    "granitemoe": {"model_type": "granitemoe", **_SPARSE, "num_local_experts": 4},
    "olmoe": {"model_type": "olmoe", **_SPARSE, "num_experts": 4},
    "minimax_m2": {"model_type": "minimax_m2", **_SPARSE, "head_dim": 10, "rotary_dim": 10, "num_local_experts": 4},
    "gpt_oss": {
        "model_type": "gpt_oss", **_SPARSE, "head_dim": 10, "num_local_experts": 4, "sliding_window": 16,
        "attention_bias": True,
    },
    "llama4_text": {
        "model_type": "llama4_text", **_SPARSE, "head_dim": 10, "num_local_experts": 4, "intermediate_size_mlp": 40,
        "interleave_moe_layer_step": 2, "pad_token_id": 0,
    },
    "llama4": {
        "model_type": "llama4",
        "text_config": {
            "model_type": "llama4_text", **_SPARSE, "head_dim": 10, "num_local_experts": 4, "intermediate_size_mlp": 40,
        },
    },
    "qwen2_moe": {
        "model_type": "qwen2_moe", **_SPARSE, "num_experts": 4, "moe_intermediate_size": 12,
        "shared_expert_intermediate_size": 24,
    },
    "qwen3_vl_moe_text": {
        "model_type": "qwen3_vl_moe_text", **_QWEN3, "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 12,
    },
    "deepseek_v2": {"model_type": "deepseek_v2", **_DEEPSEEK},
    "deepseek_v2, plain queries": {"model_type": "deepseek_v2", **_DEEPSEEK, "q_lora_rank": None},
    "kimi_k2": {"model_type": "kimi_k2", **_DEEPSEEK},
    "glm4_moe": {
        "model_type": "glm4_moe", **_QWEN3, "attention_bias": True, "use_qk_norm": True, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 12, "first_k_dense_replace": 1,
        "pad_token_id": 0,
    },
}  # fmt: skip

# of kinds that nobody has read here: what transformers has them for, and fields that are left alone
UNKNOWN: dict[str, dict[str, Any]] = {
    "helium": {"model_type": "helium", **_LLAMA, "head_dim": 8, "pad_token_id": 0},
    "arcee": {"model_type": "arcee", **_LLAMA, "hidden_act": "relu2", "pad_token_id": 0},
    "ministral": {"model_type": "ministral", **_LLAMA, "head_dim": 10},
    "hunyuan_v1_dense": {"model_type": "hunyuan_v1_dense", **_LLAMA, "head_dim": 8, "use_qk_norm": True,
                         "pad_token_id": 0},
    "dots1": {
        "model_type": "dots1", **_QWEN3, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2,
        "moe_intermediate_size": 12, "first_k_dense_replace": 1, "routed_scaling_factor": 2.5,
    },
}  # fmt: skip
