"""What travels in place of numbers: they themselves, narrower ones, or 8 bits each with one scale a block.

    Exact      x x x x x x x x                        as it is
    Narrow     x x x x                                in float16 or bfloat16
    Int8       s0 s1 │ x x                            per block of 1,024: scale = max |x| / 127, and round(x / scale)

A codec forgets what it rounds off: error feedback is for who calls. It knows one tensor at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Codec", "Exact", "Int8", "Narrow"]

_BLOCK = 1024
_SCALE_BYTES = 4


class Codec(Protocol):
    """Flat tensors to what travels, and back. `lossless`: what travels is the tensor itself."""

    @property
    def lossless(self) -> bool:
        """Whether nothing is rounded off."""
        ...

    def encode(self, flat: Tensor) -> Tensor:
        """What travels, of any dtype."""
        ...

    def room(self, flat: Tensor) -> Tensor:
        """Where the encoding of a tensor like this one can arrive: contents undefined."""
        ...

    def decode(self, encoded: Tensor, like: Tensor) -> Tensor:
        """As many numbers as `like` has, and of its dtype."""
        ...


@dataclass(frozen=True)
class Exact:
    """As it is."""

    lossless: bool = True

    def encode(self, flat: Tensor) -> Tensor:
        """As `Codec`."""
        return flat

    def room(self, flat: Tensor) -> Tensor:
        """As `Codec`."""
        return torch.empty_like(flat)

    def decode(self, encoded: Tensor, like: Tensor) -> Tensor:
        """As `Codec`."""
        return encoded


@dataclass(frozen=True)
class Narrow:
    """In a narrower dtype. float16 keeps 11 bits, and is infinite past 65,504; bfloat16 keeps 8 bits of any size."""

    dtype: torch.dtype
    lossless: bool = False

    def encode(self, flat: Tensor) -> Tensor:
        """As `Codec`."""
        return flat.to(self.dtype)

    def room(self, flat: Tensor) -> Tensor:
        """As `Codec`."""
        return torch.empty_like(flat, dtype=self.dtype)

    def decode(self, encoded: Tensor, like: Tensor) -> Tensor:
        """As `Codec`."""
        return encoded.to(like.dtype)


@dataclass(frozen=True)
class Int8:
    """Eight bits a number: off by half a 127th of its block's largest at most. What is not finite makes its block NaN,
    so that it is not lost on the way."""

    lossless: bool = False

    def encode(self, flat: Tensor) -> Tensor:
        """As `Codec`: float32 scales, then int8 numbers, as bytes."""
        count = flat.numel()
        blocks = torch.nn.functional.pad(flat, (0, -count % _BLOCK)).view(-1, _BLOCK)
        scales = (blocks.abs().amax(1) / 127).float()
        divisors = torch.where(scales > 0, scales, 1.0).to(flat.dtype)
        numbers = (blocks / divisors.unsqueeze(1)).round_().clamp_(-127, 127).nan_to_num_().to(torch.int8)
        scales[~scales.isfinite()] = torch.nan
        return torch.cat([scales.view(torch.uint8), numbers.view(-1)[:count].view(torch.uint8)])

    def room(self, flat: Tensor) -> Tensor:
        """As `Codec`."""
        return flat.new_empty(_scale_bytes(flat) + flat.numel(), dtype=torch.uint8)

    def decode(self, encoded: Tensor, like: Tensor) -> Tensor:
        """As `Codec`."""
        first = _scale_bytes(like)
        scales = encoded[:first].view(torch.float32).to(like.dtype)
        return encoded[first:].view(torch.int8).to(like.dtype) * scales.repeat_interleave(_BLOCK)[: like.numel()]


def _scale_bytes(flat: Tensor) -> int:
    return -(-flat.numel() // _BLOCK) * _SCALE_BYTES
