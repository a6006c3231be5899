"""Rotary position embedding (Su et al., 2021), in the published Llama checkpoints' order: feature i turns with i + d/2.

    (a, b) of a pair at position p  ─►  (a cos pω − b sin pω, b cos pω + a sin pω)       ω = theta^(−2i/d)

A turn is a rotation by roll: x · cos + roll(x, d/2) · (−sin | sin), three operations where the usual form takes seven.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rotate", "rotation"]


def rotation(positions: Tensor, *, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(cos, signed sin) for every position (1 or batch, sequence), each (1 or batch, sequence, 1, head_dim) in `dtype`.

    Angles are computed in float32 or wider: bfloat16 would round position 257 to 256.
    """
    wide = torch.promote_types(dtype, torch.float32)
    pairs = torch.arange(0, head_dim, 2, device=positions.device, dtype=wide)
    frequencies = 1.0 / theta ** (pairs / head_dim)
    angles = positions[..., None, None].to(wide) * frequencies  # (1 or batch, sequence, 1, head_dim / 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the heads `x` (batch, sequence, heads, head_dim) by a `rotation`."""
    cos, signed_sin = turn
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), signed_sin)
