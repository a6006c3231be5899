"""Casts to float32 inside a model, lifted: where everything is asked for in float64, they become casts to float64.

    x.float()   x.to(torch.float32)   softmax(x, dtype=torch.float32)      ──►  float64

A layer that asks a tensor for its truth or its number while it computes may *branch* on its data: what it was told is
noted, so that one can see whether two sides were told the same.
What gives a narrower number all the same (a kernel of one dtype) can't be lifted: the layer in which it stands is noted
as *pinned*, since float64 can't look closer there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["Lift"]

_WIDE = torch.float64
_LOOKS = (torch.Tensor.__bool__, torch.Tensor.__int__, torch.Tensor.__float__, torch.Tensor.item, torch.Tensor.tolist)
_NARROW = (torch.float32, torch.bfloat16, torch.float16)


class Lift(TorchFunctionMode):
    """A context. `where()` names the layer that is computing, and the first sample of its microbatch; `pinned` are the
    layers in which something stayed narrow, `looks` what they were told of what they computed, in its order."""

    def __init__(self, where: Callable[[], tuple[str | None, int]] = lambda: (None, 0)) -> None:
        super().__init__()
        self.where = where
        self.pinned: set[str] = set()
        self.looks: dict[tuple[str, int], list[float]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in (torch.Tensor.float, torch.Tensor.bfloat16, torch.Tensor.half):
            func = torch.Tensor.double
        layer, sample = self.where()
        result = func(*map(_lifted, args), **{key: _lifted(value) for key, value in (kwargs or {}).items()})
        if func in _LOOKS and layer is not None:
            self.looks.setdefault((layer, sample), []).extend(torch.tensor(result, dtype=_WIDE).reshape(-1).tolist())
        narrowed = isinstance(result, torch.Tensor) and result.dtype in _NARROW
        if narrowed and any(isinstance(one, torch.Tensor) and one.dtype is _WIDE for one in args):
            self.pinned.add(layer or "the whole model")
        return result


def _lifted(argument: Any) -> Any:
    return _WIDE if isinstance(argument, torch.dtype) and argument in _NARROW else argument
