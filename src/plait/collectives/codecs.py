"""Flat tensors as bytes and back, smaller and rounded: fp16 and bf16 under one power of two, int8 in blocks of a scale.

    Scaled    [ scale: one number of the gradient's dtype | 2 bytes an element | padding ]
    Blocks    [ scales: a float32 for each 256 elements   | 1 byte an element  | padding ]

So travel a plan's compressed buckets. A slice whose numbers aren't all finite (int8: the block) is
read as NaN everywhere. Work goes through a tensor in pieces that stay in the processor's cache. It knows no rank and no
message; `plans.compression` knows the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from plait.plans.compression import BLOCK
from plait.specs.compression import CompressionKind

__all__ = ["Blocks", "Codec", "Scaled", "codec_of"]

_PIECE = 1 << 17  # elements; a multiple of BLOCK
_TOP = 2.0**15  # scaled numbers lie below: fp16 ends at 65504
_LARGEST = 127.0


class Codec(Protocol):
    """A form of a flat tensor in bytes."""

    def write(self, values: Tensor, payload: Tensor) -> None:
        """Put `values` (count) into `payload` (uint8), which is large enough."""
        ...

    def add(self, payload: Tensor, to: Tensor, *, sign: int = 1) -> None:
        """Add what `payload` holds to the tensor `to` (count), in place; `sign` -1 subtracts it."""
        ...


def codec_of(kind: CompressionKind) -> Codec:
    """The codec of fp16, bf16 or int8; raises ValueError for a kind that has none."""
    match kind:
        case "fp16":
            return Scaled(torch.float16)
        case "bf16":
            return Scaled(torch.bfloat16)
        case "int8":
            return Blocks()
        case _:
            raise ValueError(f"{kind} is not a rounding of elements")


class Scaled:
    """Elements in a dtype of 16 bits, times a power of two, which rounds nothing: none of them overflows, and small
    gradients keep fp16's whole precision. The largest lies in [2^14, 2^15).

    A number within a rounding of its dtype's own end may be read as infinite."""

    def __init__(self, narrow: torch.dtype) -> None:
        self._narrow = narrow

    def write(self, values: Tensor, payload: Tensor) -> None:
        """As `Codec`."""
        if values.numel():
            scale = _power(values)
            header, codes = self._fields(payload, values)
            header.copy_(scale)
            for piece, code in zip(values.split(_PIECE), codes.split(_PIECE), strict=True):
                code.copy_(piece * scale)

    def add(self, payload: Tensor, to: Tensor, *, sign: int = 1) -> None:
        """As `Codec`."""
        if to.numel():
            header, codes = self._fields(payload, to)
            factor = sign / header
            for piece, code in zip(to.split(_PIECE), codes.split(_PIECE), strict=True):
                piece.add_(code.to(to.dtype).mul_(factor))

    def _fields(self, payload: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        start = values.itemsize
        stop = start + values.numel() * self._narrow.itemsize
        return payload[:start].view(values.dtype), payload[start:stop].view(self._narrow)


class Blocks:
    """Elements as whole numbers of -127 to 127 times their block's scale, its largest magnitude / 127.

    A float64 beyond float32's range counts as not finite: scales are float32.
    """

    def write(self, values: Tensor, payload: Tensor) -> None:
        """As `Codec`."""
        for block, scale, code in self._parts(values, payload):
            largest = block.abs().amax(1)
            exact = (largest / _LARGEST).to(torch.float32)
            scale.copy_(torch.where(exact.isfinite(), exact, torch.nan))
            divisor = torch.where(scale > 0, scale, 1.0).to(block.dtype)[:, None]
            code.copy_((block / divisor).round_().clamp_(-_LARGEST, _LARGEST))

    def add(self, payload: Tensor, to: Tensor, *, sign: int = 1) -> None:
        """As `Codec`."""
        for block, scale, code in self._parts(to, payload):
            block.add_(code.to(to.dtype).mul_(scale.to(to.dtype)[:, None]), alpha=sign)

    def _parts(self, values: Tensor, payload: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Pieces of whole blocks, then the short last one: values and codes as (blocks, elements), scales (blocks)."""
        count = values.numel()
        blocks = -(-count // BLOCK)
        scales = payload[: 4 * blocks].view(torch.float32)
        codes = payload[4 * blocks : 4 * blocks + count].view(torch.int8)
        whole = count // BLOCK * BLOCK
        for start in range(0, whole, _PIECE):
            stop = min(start + _PIECE, whole)
            some = scales[start // BLOCK : stop // BLOCK]
            yield values[start:stop].view(-1, BLOCK), some, codes[start:stop].view(-1, BLOCK)
        if whole < count:
            yield values[whole:].view(1, -1), scales[-1:], codes[whole:].view(1, -1)


def _power(values: Tensor) -> Tensor:
    """The power of two that takes the largest magnitude into [2^14, 2^15), NaN where one of them is not finite."""
    low, high = values.aminmax()
    largest = torch.maximum(-low, high)
    # a quotient of the same digits is exact, which pow is not in every dtype
    power = torch.frexp(largest).mantissa * _TOP / largest
    power = power.clamp(max=2.0**126 if values.dtype == torch.float32 else 2.0**1022)  # its inverse is a normal number
    return torch.where(largest.isfinite(), torch.where(largest > 0, power, 1.0), torch.nan)
