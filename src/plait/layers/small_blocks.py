"""The two kinds of blocks whose overhead a profile measures: so small that dispatch is a good part of what they take.

    kind     norm    activation   positions   bias        layers × tokens × features
    layer    layer   gelu         learned     yes         together more than a core's own cache holds, so that each is
    rms      rms     swiglu       rotary      no          as cold as a model's

Sides are those of measured products, so that what is left of a block's time is what its operators cost beside them.
"""

from __future__ import annotations

from dataclasses import replace

from plait.specs.model import ModelSpec, Norm

__all__ = ["SMALL_BLOCKS", "SMALL_TOKENS"]

SMALL_TOKENS = 64

_LAYER = ModelSpec(layers=16, hidden=64, heads=2, kv_heads=2, ffn=64, vocab=64, max_positions=SMALL_TOKENS)
_RMS = replace(_LAYER, norm="rms", activation="swiglu", positions="rope", bias=False)

SMALL_BLOCKS: dict[Norm, ModelSpec] = {"layer": _LAYER, "rms": _RMS}
