"""What one forward is about: the tokens, where each stands in its sample, and which samples they are.

    tokens, targets    (batch, sequence)         the step's microbatch; a later pipeline stage may hold neither
    positions          (1 or batch, sequence)    named values: no layer counts for itself where a token stands
    samples            (batch,)                  global numbers, the same however a batch is cut or spread

Everything that a layer needs beside the hidden values stands here, so that every layer is called in the same way. It
knows tensors only, and not what layers do with them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["Sequences"]

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class _Known:
    """What was found to follow from some positions."""

    positions: Tensor
    values: dict[Hashable, Any] = field(default_factory=dict[Hashable, Any])


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    """Integer tensors (int64) of one forward, on one device; none may change while it is in use. `step` is the training
    step, for keyed dropout. `segments` has its place here for packed documents."""

    tokens: Tensor | None
    targets: Tensor | None = None  # -100: no target here
    positions: Tensor
    samples: Tensor
    step: int = 0
    segments: None = None
    _known: _Known | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self._known is None or self._known.positions is not self.positions:
            object.__setattr__(self, "_known", _Known(self.positions))

    @classmethod
    def of(
        cls,
        tokens: Tensor,
        targets: Tensor | None = None,
        *,
        samples: Tensor | None = None,
        first_sample: int = 0,
        step: int = 0,
    ) -> Sequences:
        """Whole samples that begin at position 0, numbered as `samples` says, or on from `first_sample`; `tokens`
        (batch, sequence)."""
        batch, length = tokens.shape
        if samples is None:
            samples = torch.arange(first_sample, first_sample + batch, device=tokens.device)
        known = _from_0(length, tokens.device)
        return cls(
            tokens=tokens,
            targets=targets,
            positions=known.positions,
            samples=samples,
            step=step,
            _known=known,
        )

    def rows(self, start: int, stop: int) -> Sequences:
        """The samples [start, stop) of these, as a microbatch."""
        return replace(
            self,
            tokens=None if self.tokens is None else self.tokens[start:stop],
            targets=None if self.targets is None else self.targets[start:stop],
            positions=self.positions if len(self.positions) == 1 else self.positions[start:stop],
            samples=self.samples[start:stop],
        )

    def once(self, name: Hashable, compute: Callable[[], Value]) -> Value:
        """What follows from these positions alone and many layers read: computed for the first that asks, and for all
        sequences that have the same positions."""
        assert self._known is not None  # it is never without
        values = self._known.values
        if name not in values:
            with torch.inference_mode(False):  # found first in inference, it must still serve training
                values[name] = compute()
        return values[name]


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _from_0(length: int, device: torch.device) -> _Known:
    """The positions of whole samples: step after step the same."""
    return _Known(torch.arange(length, device=device)[None])
