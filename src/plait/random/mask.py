"""Dropout by address: whether a value is kept depends on its key and its global position, never on who computes it.

    key = stream_key(seed, "layers.3.dropout", step)        position = (sample, token, channel), flattened globally

Ranks that hold different values then drop different ones, copies of one value drop alike, and a recomputed forward
drops what the first one did. It knows tensors of positions; how a rank's values lie in the global tensor is its
caller's to know.
"""

from __future__ import annotations

import torch

from plait.random.words import torch_words

__all__ = ["dropout", "keep_mask"]

_CPU_CHUNK = 1 << 16  # positions at once, so that the words stay in cache; an accelerator likes one large piece


def keep_mask(key: int, positions: torch.Tensor, probability: float) -> torch.Tensor:
    """A bool tensor, True where the value at `positions` (int64, any shape and device) is kept.

    Each value is dropped with `probability` in [0, 1), to 2**-53; ValueError otherwise.
    """
    if not 0.0 <= probability < 1.0:
        raise ValueError(f"a dropout probability of {probability} is not in [0, 1)")
    threshold = int(probability * 2.0**64) - (1 << 63)  # the words are uniform over the signed 64-bit numbers
    flat = positions.reshape(-1)
    pieces = flat.split(_CPU_CHUNK) if positions.device.type == "cpu" else (flat,)
    return torch.cat([torch_words(key, piece) >= threshold for piece in pieces]).view(positions.shape)


def dropout(x: torch.Tensor, key: int, positions: torch.Tensor, probability: float) -> torch.Tensor:
    """Inverted dropout (Srivastava et al., 2014): the kept values of `x`, scaled by 1 / (1 - probability), and zeros.

    `positions` are int64 of the shape of `x`. Saves one byte a value for backward.
    """
    if probability == 0.0:
        return x
    return (x * keep_mask(key, positions, probability)).mul_(1.0 / (1.0 - probability))
