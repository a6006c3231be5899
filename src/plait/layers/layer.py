"""The words that describe a layer: indices, dims, weights, products, the values it crosses and keeps.

A dim is a row of *parts*, each made of units of one named *index*; an index is what a sharding rule speaks about:

    c_attn, 5 heads of 24:   | heads 5 × 24 | kv_heads 5 × 24 | kv_heads 5 × 24 |     one dim, three parts
    up_proj:                 | ffn 480 × 1                                      |

It knows shapes and counts, not placements: what is split, and over whom, stands in `sharding`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Crossing", "Dim", "Index", "Init", "Layer", "Part", "Product", "Saved", "Weight"]

Index = Literal["hidden", "heads", "kv_heads", "ffn", "vocab", "positions"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """`units` indivisible units of `width` elements each. `per_unit`: query heads that read one key/value head."""

    index: Index
    units: int
    width: int = 1
    per_unit: int = 1

    @property
    def size(self) -> int:
        """Elements of the part."""
        return self.units * self.width


@dataclass(frozen=True, kw_only=True)
class Dim:
    """One dimension of a weight, cut into parts that lie one after another."""

    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Elements along the dimension."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class Init:
    """How a weight begins: all zeros, all ones, or normal with this standard deviation."""

    kind: Literal["normal", "zeros", "ones"]
    std: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A named weight. `name` is its one identity, as in the published checkpoint; `path` is where this layer's module
    keeps it (they differ only for the second place of a tied weight). `decays`: weight decay applies to it."""

    name: str
    dims: tuple[Dim, ...]
    init: Init
    decays: bool
    path: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The global shape."""
        return tuple(dim.size for dim in self.dims)


@dataclass(frozen=True, kw_only=True)
class Product:
    """A matrix product of every token's features with a weight, or attention's two products of tokens with tokens.

    `weight` multiplies `inner` features into `outer`; attention has `inner` = `outer` = its heads part.
    """

    name: str
    kind: Literal["linear", "attention"]
    inner: Dim
    outer: Dim


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """A value that crosses into or out of the part of a layer that the tensor axis splits (see `sharding.rules`)."""

    name: str
    kind: Literal["enter", "leave", "loss"]


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A tensor kept for backward: its features a token (`dim`; none: one number a token), its dtype, and where it
    lives: `residual` follows the residual stream, `split` the tensor axis, `whole` is complete on every rank.

    Dtypes: `compute` is the activations', `wide` the same but at least float32. `shared`: follows from the positions
    alone, so that it is kept once for all sequences of a microbatch and for all layers of a stage that name it."""

    name: str
    dim: Dim | None
    dtype: Literal["compute", "wide", "int64", "bool"]
    lives: Literal["residual", "split", "whole"]
    squared: bool = False  # a number for every pair of tokens: attention's probabilities
    shared: bool = False


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer of the list that is a model: the values it `needs` and `gives`, and everything that has a cost."""

    name: str
    kind: Literal["embedding", "block", "head"]
    needs: tuple[str, ...]
    gives: tuple[str, ...]
    weights: tuple[Weight, ...]
    products: tuple[Product, ...] = ()
    crossings: tuple[Crossing, ...] = ()
    saved: tuple[Saved, ...] = field(default=())
