"""Counts the floating-point operations that torch really performs: the measure that predicted FLOPs are held against.

torch's own FlopCounterMode counts attention as nothing on CPUs, since it knows no formula for the kernel that runs
there. Here are the two that it lacks, by the same rules: 2·m·n·k a product, a causal mask is not taken off.

    forward    q kᵀ, p v                                      2 products of s × s × head_dim for every query head
    backward   q kᵀ once more, dp = dy vᵀ, dv, dq, dk         5 of them

It knows operations and shapes, and not what model they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["flop_counter"]


def flop_counter() -> FlopCounterMode:
    """A context manager; `get_total_flops()` afterwards tells what was performed in its block, in this process."""
    aten = torch.ops.aten
    return FlopCounterMode(
        display=False,
        custom_mapping={
            aten._scaled_dot_product_flash_attention_for_cpu: _attention,
            aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
        },
    )


# FlopCounterMode calls a formula with each tensor replaced by its shape: (batch, heads, sequence, head_dim)
def _attention(query: Sequence[int], key: Sequence[int], *_: object, **__: object) -> int:
    return 2 * _product(query, key)


def _attention_backward(_gradient: object, query: Sequence[int], key: Sequence[int], *_: object, **__: object) -> int:
    return 5 * _product(query, key)


def _product(query: Sequence[int], key: Sequence[int]) -> int:
    batch, heads, queries, features = query
    return 2 * batch * heads * queries * key[2] * features
