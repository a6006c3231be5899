"""Models by name: published shapes, so that a job may say `name = "gpt2"` instead of writing the numbers.

Further keys of `[model]` override the named shape. `max_positions` is not among them: it is the job's own sequence
length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["PRESETS"]

# Radford et al. 2019, table 2; the configurations published with the weights
_GPT2 = {"vocab": 50257, "positions": "learned", "norm": "layer", "activation": "gelu", "bias": True,
         "norm_eps": 1e-5, "tie_embeddings": True}  # fmt: skip
# Touvron et al. 2023 (Llama 2); Llama team 2024 (Llama 3, table 3); the configurations published with the weights
_LLAMA = {"positions": "rope", "norm": "rms", "activation": "swiglu", "bias": False, "norm_eps": 1e-5,
          "tie_embeddings": False}  # fmt: skip
_LLAMA2 = {**_LLAMA, "vocab": 32000, "rope_theta": 10000.0}
_LLAMA3 = {**_LLAMA, "vocab": 128256, "rope_theta": 500000.0}


def _shape(layers: int, hidden: int, heads: int, kv_heads: int = 0, ffn: int = 0) -> dict[str, int]:
    return {
        "layers": layers,
        "hidden": hidden,
        "heads": heads,
        "kv_heads": kv_heads or heads,
        "ffn": ffn or 4 * hidden,
    }


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {**_GPT2, **_shape(12, 768, 12)},
    "gpt2-medium": {**_GPT2, **_shape(24, 1024, 16)},
    "gpt2-large": {**_GPT2, **_shape(36, 1280, 20)},
    "gpt2-xl": {**_GPT2, **_shape(48, 1600, 25)},
    # Brown et al. 2020, table 2.1; GPT-2's vocabulary. Its 13B has 5140 features for 40 heads, a slip for 5120.
    "gpt3-6.7b": {**_GPT2, **_shape(32, 4096, 32)},
    "gpt3-13b": {**_GPT2, **_shape(40, 5120, 40)},
    "gpt3-175b": {**_GPT2, **_shape(96, 12288, 96)},
    "llama2-7b": {**_LLAMA2, **_shape(32, 4096, 32, ffn=11008)},
    "llama2-13b": {**_LLAMA2, **_shape(40, 5120, 40, ffn=13824)},
    "llama2-70b": {**_LLAMA2, **_shape(80, 8192, 64, kv_heads=8, ffn=28672)},
    "llama3-8b": {**_LLAMA3, **_shape(32, 4096, 32, kv_heads=8, ffn=14336)},
    "llama3-70b": {**_LLAMA3, **_shape(80, 8192, 64, kv_heads=8, ffn=28672)},
    "llama3-405b": {**_LLAMA3, **_shape(126, 16384, 128, kv_heads=8, ffn=53248)},  # of Llama 3.1
}
