"""What is to be learned, and how: `[training]` and `[data]` of a job.

`PRECISIONS` is the precision policy: what is computed with, what the optimizer keeps, what is summed across ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ITEMSIZE", "PRECISIONS", "DataSpec", "Dtype", "PrecisionPolicy", "TrainingSpec"]

Dtype = Literal["fp64", "fp32", "bf16", "fp16"]
ITEMSIZE: dict[Dtype, int] = {"fp64": 8, "fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True, kw_only=True)
class PrecisionPolicy:
    """The dtype of weights and activations, of the optimizer's weights and state, and of summed gradients."""

    compute: Dtype
    master: Dtype
    reduce: Dtype


PRECISIONS: dict[str, PrecisionPolicy] = {
    "fp32": PrecisionPolicy(compute="fp32", master="fp32", reduce="fp32"),
    "bf16": PrecisionPolicy(compute="bf16", master="fp32", reduce="fp32"),
    "fp64": PrecisionPolicy(compute="fp64", master="fp64", reduce="fp64"),
}


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """The text, its tokenizer, and the fraction held out for validation."""

    text: str | tuple[str, ...] = "python-stdlib"
    tokenizer: str = "bytes"
    validation_fraction: float = 0.02


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """The learning run. `global_batch` counts sequences, `sequence_length` tokens, the rest steps."""

    steps: int = 200
    global_batch: int = 16
    sequence_length: int = 128
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 3e-4
    warmup_steps: int = 20
    decay: Literal["cosine", "linear", "none"] = "cosine"
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0  # 0: no clipping
    validate_every: int = 50
    deterministic: bool = False
    seed: int = 0
