"""Models by name: published shapes, so that a job may say `name = "gpt2"` instead of writing the numbers.

Further keys of `[model]` override the named shape. `max_positions` is not among them: it is the job's own sequence
length. What a name says about a model is its shape alone: the runtime may not have it yet (`choices`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plait.specs.model import Experts, LatentAttention

__all__ = ["PRESETS"]


def _shape(layers: int, hidden: int, heads: int, kv_heads: int = 0, ffn: int = 0, **more: Any) -> dict[str, Any]:
    sizes = {"layers": layers, "hidden": hidden, "heads": heads}
    return {**sizes, "kv_heads": kv_heads or heads, "ffn": ffn or 4 * hidden, **more}


# Radford et al. 2019, table 2; the configurations published with the weights
_GPT2 = {"vocab": 50257, "positions": "learned", "norm": "layer", "activation": "gelu", "bias": True,
         "norm_eps": 1e-5, "tie_embeddings": True}  # fmt: skip
_GPT = {
    "gpt2": {**_GPT2, **_shape(12, 768, 12)},
    "gpt2-medium": {**_GPT2, **_shape(24, 1024, 16)},
    "gpt2-large": {**_GPT2, **_shape(36, 1280, 20)},
    "gpt2-xl": {**_GPT2, **_shape(48, 1600, 25)},
    # Brown et al. 2020, table 2.1; GPT-2's vocabulary. Two slips of the table are mended: its 1.3B has 24 heads of 128
    # for 2048 features, its 13B 5140 features for 40 heads of 128.
    "gpt3-125m": {**_GPT2, **_shape(12, 768, 12)},
    "gpt3-350m": {**_GPT2, **_shape(24, 1024, 16)},
    "gpt3-760m": {**_GPT2, **_shape(24, 1536, 16)},
    "gpt3-1.3b": {**_GPT2, **_shape(24, 2048, 16)},
    "gpt3-2.7b": {**_GPT2, **_shape(32, 2560, 32)},
    "gpt3-6.7b": {**_GPT2, **_shape(32, 4096, 32)},
    "gpt3-13b": {**_GPT2, **_shape(40, 5120, 40)},
    "gpt3-175b": {**_GPT2, **_shape(96, 12288, 96)},
}

# Touvron et al. 2023 (Llama 2); Llama team 2024 (Llama 3, table 3); the configurations published with the weights
_RMS = {"positions": "rope", "norm": "rms", "activation": "swiglu", "bias": False, "norm_eps": 1e-5,
        "tie_embeddings": False}  # fmt: skip
_LLAMA2 = {**_RMS, "vocab": 32000, "rope_theta": 10000.0}
_LLAMA3 = {**_RMS, "vocab": 128256, "rope_theta": 500000.0}
_LLAMA3_SIZES = {
    "8b": _shape(32, 4096, 32, kv_heads=8, ffn=14336),
    "70b": _shape(80, 8192, 64, kv_heads=8, ffn=28672),
    "405b": _shape(126, 16384, 128, kv_heads=8, ffn=53248),
}
_LLAMA = {
    "llama2-7b": {**_LLAMA2, **_shape(32, 4096, 32, ffn=11008)},
    "llama2-13b": {**_LLAMA2, **_shape(40, 5120, 40, ffn=13824)},
    "llama2-70b": {**_LLAMA2, **_shape(80, 8192, 64, kv_heads=8, ffn=28672)},
    **{f"llama3-{size}": {**_LLAMA3, **shape} for size, shape in _LLAMA3_SIZES.items()},
    **{f"llama3.1-{size}": {**_LLAMA3, **shape} for size, shape in _LLAMA3_SIZES.items()},
    "llama3.2-1b": {**_LLAMA3, **_shape(16, 2048, 32, kv_heads=8, ffn=8192, tie_embeddings=True)},
    "llama3.2-3b": {**_LLAMA3, **_shape(28, 3072, 24, kv_heads=8, ffn=8192, tie_embeddings=True)},
}

# Jiang et al. 2023 (arXiv 2310.06825), 2024 (Mixtral, arXiv 2401.04088); the published configurations
_MISTRAL = {**_RMS, "vocab": 32000, "rope_theta": 10000.0}
_LATER = {**_MISTRAL, "rope_theta": 1e6}
_MISTRALS = {
    "mistral-7b": {**_MISTRAL, **_shape(32, 4096, 32, 8, 14336, window=4096)},
    "mistral-7b-v0.3": {**_LATER, **_shape(32, 4096, 32, 8, 14336, vocab=32768)},
    "mistral-nemo-12b": {**_LATER, **_shape(40, 5120, 32, 8, 14336, vocab=131072, head_width=128)},
    "mistral-large-123b": {**_LATER, **_shape(88, 12288, 96, 8, 28672, vocab=32768)},
    "mixtral-8x7b": {**_LATER, **_shape(32, 4096, 32, 8, 14336, experts=Experts(count=8, per_token=2, ffn=14336))},
    "mixtral-8x22b": {**_LATER, **_shape(56, 6144, 48, 8, 16384, experts=Experts(count=8, per_token=2, ffn=16384))},
}

# Qwen team 2024 (arXiv 2412.15115, table 1), 2025 (Qwen3, arXiv 2505.09388, tables 1 and 2); the configurations
_QWEN = {**_RMS, "vocab": 151936, "rope_theta": 1e6, "norm_eps": 1e-6}
_QWEN2 = {**_QWEN, "query_bias": True}
_QWEN3 = {**_QWEN, "query_norm": True}
_TIED = {"tie_embeddings": True}


def _of_128(per_token: int, ffn: int) -> dict[str, Any]:
    return {"experts": Experts(count=128, per_token=per_token, ffn=ffn)}


_QWENS = {
    "qwen2.5-0.5b": {**_QWEN2, **_TIED, **_shape(24, 896, 14, 2, 4864)},
    "qwen2.5-1.5b": {**_QWEN2, **_TIED, **_shape(28, 1536, 12, 2, 8960)},
    "qwen2.5-3b": {**_QWEN2, **_TIED, **_shape(36, 2048, 16, 2, 11008)},
    "qwen2.5-7b": {**_QWEN2, **_shape(28, 3584, 28, 4, 18944, vocab=152064)},
    "qwen2.5-14b": {**_QWEN2, **_shape(48, 5120, 40, 8, 13824, vocab=152064)},
    "qwen2.5-32b": {**_QWEN2, **_shape(64, 5120, 40, 8, 27648, vocab=152064)},
    "qwen2.5-72b": {**_QWEN2, **_shape(80, 8192, 64, 8, 29568, vocab=152064)},
    "qwen3-0.6b": {**_QWEN3, **_TIED, **_shape(28, 1024, 16, 8, 3072, head_width=128)},
    "qwen3-1.7b": {**_QWEN3, **_TIED, **_shape(28, 2048, 16, 8, 6144)},
    "qwen3-4b": {**_QWEN3, **_TIED, **_shape(36, 2560, 32, 8, 9728, head_width=128)},
    "qwen3-8b": {**_QWEN3, **_shape(36, 4096, 32, 8, 12288)},
    "qwen3-14b": {**_QWEN3, **_shape(40, 5120, 40, 8, 17408)},
    "qwen3-32b": {**_QWEN3, **_shape(64, 5120, 64, 8, 25600, head_width=128)},
    "qwen3-30b-a3b": {**_QWEN3, **_shape(48, 2048, 32, 4, 6144, head_width=128, **_of_128(8, 768))},
    "qwen3-235b-a22b": {**_QWEN3, **_shape(94, 4096, 64, 4, 12288, head_width=128, **_of_128(8, 1536))},
}

# DeepSeek-AI 2024 (arXiv 2412.19437, section 4.2), Kimi team 2025 (arXiv 2507.20534); the configurations
_DEEPSEEK = {**_RMS, "vocab": 129280, "rope_theta": 10000.0, "norm_eps": 1e-6, "prediction_layers": 1,
             "latent": LatentAttention(query_rank=1536, kv_rank=512, plain=128, rotated=64, value=128)}  # fmt: skip


def _shared_and(count: int, dense: int) -> Experts:
    blocks = tuple(range(dense))
    return Experts(count=count, per_token=8, ffn=2048, shared=1, dense=blocks, router_bias=True)


_LATENT = {
    "deepseek-v3": {**_DEEPSEEK, **_shape(61, 7168, 128, ffn=18432, experts=_shared_and(256, 3))},
    "kimi-k2": {
        **_DEEPSEEK,
        "vocab": 163840,
        "rope_theta": 50000.0,
        "prediction_layers": 0,
        **_shape(61, 7168, 64, ffn=18432, experts=_shared_and(384, 1)),
    },
}

# BigScience 2022 (arXiv 2211.05100, table 3); MosaicML 2023, the configurations, and llm-foundry's for 70B
_BLOOM = {**_GPT2, "vocab": 250880, "positions": "alibi", "embedding_norm": True}
_MPT = {**_GPT2, "vocab": 50432, "positions": "alibi", "bias": False}
_ALIBI = {
    "bloom-560m": {**_BLOOM, **_shape(24, 1024, 16)},
    "bloom-1b1": {**_BLOOM, **_shape(24, 1536, 16)},
    "bloom-1b7": {**_BLOOM, **_shape(24, 2048, 16)},
    "bloom-3b": {**_BLOOM, **_shape(30, 2560, 32)},
    "bloom-7b1": {**_BLOOM, **_shape(30, 4096, 32)},
    "bloom-176b": {**_BLOOM, **_shape(70, 14336, 112)},
    "mpt-7b": {**_MPT, **_shape(32, 4096, 32)},
    "mpt-30b": {**_MPT, **_shape(48, 7168, 64)},
    "mpt-70b": {**_MPT, **_shape(80, 8192, 64, vocab=50368)},
}

# Zeng et al. 2021 (arXiv 2104.12369), as the configurations in MindSpore's model zoo have it; without its query layer
_PANGU = {**_GPT2, "vocab": 40000}
_PANGUS = {
    "pangu-alpha-2.6b": {**_PANGU, **_shape(32, 2560, 32)},
    "pangu-alpha-13b": {**_PANGU, **_shape(40, 5120, 40)},
    "pangu-alpha-200b": {**_PANGU, **_shape(64, 16384, 128)},
}

# Devlin et al. 2018; the published configurations of the uncased models
_BERT = {**_GPT2, "family": "bert", "vocab": 30522, "norm_eps": 1e-12, "token_types": 2, "embedding_norm": True}
_BERTS = {"bert-base": {**_BERT, **_shape(12, 768, 12)}, "bert-large": {**_BERT, **_shape(24, 1024, 16)}}

# Raffel et al. 2019 (arXiv 1910.10683, sections 2.1 and 3.7); v1.1 as published with the weights
_T5 = {**_RMS, "family": "t5", "vocab": 32128, "positions": "relative", "norm_eps": 1e-6, "activation": "relu",
       "tie_embeddings": True}  # fmt: skip
_T5_V1_1 = {**_T5, "activation": "geglu", "tie_embeddings": False}


def _two_stacks(each: int, hidden: int, heads: int, ffn: int, head_width: int | None = None) -> dict[str, Any]:
    return _shape(2 * each, hidden, heads, ffn=ffn, encoder_layers=each, head_width=head_width)


_T5S = {
    "t5-small": {**_T5, **_two_stacks(6, 512, 8, 2048)},
    "t5-base": {**_T5, **_two_stacks(12, 768, 12, 3072)},
    "t5-large": {**_T5, **_two_stacks(24, 1024, 16, 4096)},
    "t5-3b": {**_T5, **_two_stacks(24, 1024, 32, 16384, 128)},
    "t5-11b": {**_T5, **_two_stacks(24, 1024, 128, 65536, 128)},
    "t5-v1.1-small": {**_T5_V1_1, **_two_stacks(8, 512, 6, 1024, 64)},
    "t5-v1.1-base": {**_T5_V1_1, **_two_stacks(12, 768, 12, 2048)},
    "t5-v1.1-large": {**_T5_V1_1, **_two_stacks(24, 1024, 16, 2816)},
    "t5-v1.1-xl": {**_T5_V1_1, **_two_stacks(24, 2048, 32, 5120)},
    "t5-v1.1-xxl": {**_T5_V1_1, **_two_stacks(24, 4096, 64, 10240)},
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    **_GPT, **_LLAMA, **_MISTRALS, **_QWENS, **_LATENT, **_ALIBI, **_PANGUS, **_BERTS, **_T5S,
}  # fmt: skip
