"""The dims of a transformer, from its shape: hidden features, heads, feed-forward features, the vocabulary."""

from __future__ import annotations

from plait.layers.layer import Dim, Part
from plait.specs.model import ModelSpec

__all__ = ["ffn", "heads", "hidden", "per_head", "projected", "vocab"]


def hidden(spec: ModelSpec) -> Dim:
    """The features of the residual stream."""
    return Dim(parts=(Part(index="hidden", units=spec.hidden),))


def heads(spec: ModelSpec) -> Dim:
    """The features of all query heads."""
    return Dim(parts=(_heads(spec),))


def per_head(spec: ModelSpec) -> Dim:
    """One number for each query head."""
    return Dim(parts=(Part(index="heads", units=spec.heads),))


def ffn(spec: ModelSpec) -> Dim:
    """The features inside the feed-forward part."""
    return Dim(parts=(Part(index="ffn", units=spec.ffn),))


def vocab(spec: ModelSpec) -> Dim:
    """One number for each token of the vocabulary."""
    return Dim(parts=(Part(index="vocab", units=spec.vocab),))


def projected(spec: ModelSpec, *, joint: bool) -> tuple[Dim, ...]:
    """The outputs of the attention's input products: q|k|v in one dim, or three dims."""
    parts = (_heads(spec), _kv_heads(spec), _kv_heads(spec))
    return (Dim(parts=parts),) if joint else tuple(Dim(parts=(part,)) for part in parts)


def _heads(spec: ModelSpec) -> Part:
    return Part(index="heads", units=spec.heads, width=spec.head_dim)


def _kv_heads(spec: ModelSpec) -> Part:
    return Part(index="kv_heads", units=spec.kv_heads, width=spec.head_dim, per_unit=spec.queries_per_kv_head)
