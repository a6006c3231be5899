"""Where a tensor lives along one mesh axis, in DTensor's words: Replicate, Shard(dim) or Partial(sum or max)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Partial", "Placement", "Replicate", "Shard"]


@dataclass(frozen=True)
class Replicate:
    """Every rank holds the whole tensor, and all copies are equal."""


@dataclass(frozen=True)
class Shard:
    """Each rank holds its slice of dimension `dim`; negative dims count from the last."""

    dim: int


@dataclass(frozen=True)
class Partial:
    """Every rank holds a tensor of the whole shape; the true one is their sum (or maximum)."""

    reduce: Literal["sum", "max"] = "sum"


Placement = Replicate | Shard | Partial
