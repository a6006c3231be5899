"""As cold as in training: operands that a core's own cache holds no more, and results that find no warm memory.

    call 1   x0 · W0 ─► y0        of the operands as many sets as are more than such a cache holds, in turn
    call 2   x1 · W1 ─► y1        y0 stays until as many bytes are newer, as forward's results stay for backward;
                                  those of backward are soon done with, and leave warm memory behind
    ...
    call 1   x0 · W0 ─► …         long out of the cache

In a loop over one set of operands small operations take half to four fifths of what they take inside a model (64 to
256 tokens of 128 features on a CPU). It knows callables and bytes, not what is timed. An accelerator's cache may still
hold all sets. What is done once a step finds nothing of its own in any cache: `Others` have been there meanwhile.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

__all__ = ["COLD_BYTES", "Others", "Pool", "Results", "backward_in_turn", "forward_in_turn", "sets_of"]

COLD_BYTES = 2**22  # twice what a core of today has for itself: operands taken in turn are gone before their next
_MOST_SETS = 64
_ALL_BYTES = 2**25  # a machine's shared cache, or one core's part of it


def sets_of(nbytes: int) -> int:
    """How many sets of operands of `nbytes` each an operation needs, at least one."""
    return max(1, min(_MOST_SETS, COLD_BYTES // max(nbytes, 1)))


class Others:
    """What a whole forward and backward leaves of the caches for what comes after it: nothing."""

    def __init__(self, device: torch.device) -> None:
        self._all = torch.zeros(_ALL_BYTES // 4, device=device)

    def __call__(self) -> None:
        self._all.add_(1.0)


class Pool:
    """Numbers out of which sets of operands are cut, one behind the other and from the front again at the end; at least
    `elements` and COLD_BYTES of them."""

    def __init__(self, elements: int, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self._all = torch.randn(max(elements, COLD_BYTES // dtype.itemsize), device=device).to(dtype)
        self._place = 0

    def rows(self, elements: int, width: int) -> Tensor:
        """The next (elements // width, width) of them, which want a gradient."""
        count = elements // width * width
        start = self._place if self._place + count <= len(self._all) else 0
        self._place = start + count
        return self._all[start : self._place].view(-1, width).detach().requires_grad_()


class Results:
    """Keeps the newest results, about COLD_BYTES of them, whoever made them."""

    def __init__(self) -> None:
        self._kept: deque[Tensor] = deque()
        self._bytes = 0

    def keep(self, result: Tensor) -> None:
        """One more; the oldest are let go."""
        self._kept.append(result)
        self._bytes += result.nbytes
        while self._bytes > COLD_BYTES:
            self._bytes -= self._kept.popleft().nbytes


def forward_in_turn(variants: Sequence[Callable[[], Tensor]], results: Results) -> Callable[[], None]:
    """One case out of the same operation on several sets of operands: the next set at each call; its result is kept."""
    coming = itertools.cycle(variants)

    def case() -> None:
        results.keep(next(coming)())

    return case


def backward_in_turn(graphs: Sequence[tuple[Tensor, Sequence[Tensor]]]) -> Callable[[], None]:
    """One case out of the same backward of several graphs, each a result and the inputs that want a gradient."""
    backward = partial(torch.autograd.grad, retain_graph=True)
    coming = itertools.cycle([partial(backward, one, inputs, torch.ones_like(one)) for one, inputs in graphs])

    def case() -> None:
        next(coming)()

    return case
