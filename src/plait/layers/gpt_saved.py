"""What a decoder's layers keep from forward to backward, when computed as `models/` computes them.

    block      norm 1 ─► attention's input ─► q k v ─► attended ─► hidden ─► norm 2 ─► mlp's input ─► … ─► hidden
    kept       1-2 a row      hidden           split     split      hidden    1-2 a row     hidden         hidden

Only distinct storages count, and each once: a value that two layers read is declared by the one that gives it, so that
a stage which begins with a block keeps its input too. A test measures all of it, and finds the same number of bytes.
"""

from __future__ import annotations

from plait.layers.dims import ffn, heads, hidden, per_head, projected, vocab
from plait.layers.layer import Dim, Part, Saved
from plait.specs.model import ModelSpec

__all__ = ["saved_by_block", "saved_by_embedding", "saved_by_head"]


def saved_by_embedding(spec: ModelSpec) -> tuple[Saved, ...]:
    """What the look-ups keep, and the first hidden values."""
    kept = [Saved(name="tokens", dim=None, dtype="int64", lives="whole")]
    if spec.positions == "learned":
        kept.append(Saved(name="positions", dim=None, dtype="int64", lives="residual", shared=True))
    return (*kept, *_dropped(spec, "embedding"), _residual(spec, "hidden"))


def saved_by_block(spec: ModelSpec, *, joint: bool) -> tuple[Saved, ...]:
    """What one block keeps; `joint`: q, k and v are one product's."""
    attend = _attend(spec, joint=joint) if spec.dropout == 0 else _attend_with_dropout(spec)
    return (
        *_norm(spec, "norm 1"),
        Saved(name="attention input", dim=hidden(spec), dtype="compute", lives="whole"),
        *_rotation(spec),
        *attend,
        _split("attended", heads(spec)),
        *_dropped(spec, "attention"),
        _residual(spec, "attention hidden"),
        *_norm(spec, "norm 2"),
        Saved(name="mlp input", dim=hidden(spec), dtype="compute", lives="whole"),
        *(_split(name, ffn(spec)) for name in _INSIDE_MLP[spec.activation]),
        *_dropped(spec, "mlp"),
        _residual(spec, "hidden"),
    )


def saved_by_head(spec: ModelSpec) -> tuple[Saved, ...]:
    """What the last norm, the product with the vocabulary and the loss keep."""
    return (
        *_norm(spec, "final norm"),
        Saved(name="head input", dim=hidden(spec), dtype="compute", lives="whole"),
        Saved(name="log-probabilities", dim=vocab(spec), dtype="wide", lives="split"),
        Saved(name="targets", dim=None, dtype="int64", lives="whole"),
    )


# GELU's backward reads its input, ReLU's its output, which is `down`'s input anyway
_INSIDE_MLP = {
    "gelu": ("up", "activated"),
    "relu": ("activated",),
    "swiglu": ("gate", "activated gate", "up", "gated"),
}


def _norm(spec: ModelSpec, name: str) -> tuple[Saved, ...]:
    numbers = ("mean", "scale") if spec.norm == "layer" else ("scale",)
    return tuple(Saved(name=f"{name} {number}", dim=None, dtype="wide", lives="residual") for number in numbers)


def _rotation(spec: ModelSpec) -> tuple[Saved, ...]:
    if spec.positions != "rope":
        return ()
    head = Dim(parts=(Part(index="hidden", units=spec.head_dim),))
    return tuple(Saved(name=name, dim=head, dtype="compute", lives="whole", shared=True) for name in ("cos", "sin"))


def _attend(spec: ModelSpec, *, joint: bool) -> tuple[Saved, ...]:
    """The fused kernel keeps q, k, v, and one number a query and head: the logarithm of its softmax's sum."""
    names = ("qkv",) if joint else ("q", "k", "v")
    inputs = zip(names, projected(spec, joint=joint), strict=True)
    sums = Saved(name="log-sum-exp", dim=per_head(spec), dtype="wide", lives="split")
    return (*(_split(name, dim) for name, dim in inputs), sums)


def _attend_with_dropout(spec: ModelSpec) -> tuple[Saved, ...]:
    """Written out: k and v are repeated for their readers, and the probabilities of every pair of tokens are kept."""
    pairs = per_head(spec)
    return (
        *(_split(name, heads(spec)) for name in ("q", "k", "v")),
        Saved(name="later keys", dim=None, dtype="bool", lives="whole", squared=True, shared=True),
        Saved(name="probabilities", dim=pairs, dtype="wide", lives="split", squared=True),
        Saved(name="probabilities mask", dim=pairs, dtype="bool", lives="split", squared=True),
        Saved(name="dropped probabilities", dim=pairs, dtype="compute", lives="split", squared=True),
    )


def _dropped(spec: ModelSpec, name: str) -> tuple[Saved, ...]:
    mask = Saved(name=f"{name} mask", dim=hidden(spec), dtype="bool", lives="residual")
    return (mask,) if spec.dropout else ()


def _residual(spec: ModelSpec, name: str) -> Saved:
    return Saved(name=name, dim=hidden(spec), dtype="compute", lives="residual")


def _split(name: str, dim: Dim) -> Saved:
    return Saved(name=name, dim=dim, dtype="compute", lives="split")
