"""Weights' gradients that wait: so that a sum over tensor ranks has something to hide behind, or for an action W.

    backward of a split layer      dx of q, k, v ──► sum over the tensor axis ═════════════► what stands before
                                                     dW of q, k, v, out meanwhile

    backward in two parts          I: dx of all products, on to the stage before ──► other actions ──► W: their dW

A product's backward computes the gradient of its input alone and leaves its weight's to a queue; where a sum has been
started the queue is worked off, or, set apart, once it is told to. Made so, a gradient is added to its weight's
straight from the product, without a tensor in between. All that is no product's (norms, biases, lookups) has its
gradient at once. It knows products, and nothing of ranks."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plait.models.head import Head
from plait.models.linear import Linear
from plait.models.slots import Multiply

__all__ = ["WeightGradients"]


class WeightGradients:
    """Gradients of weights that are still to be made. `made` is told of each weight to whose gradient was added."""

    def __init__(self) -> None:
        self.made: Callable[[torch.nn.Parameter], None] = lambda weight: None
        self._waiting: deque[Callable[[], None]] = deque()
        self._apart: dict[tuple[int, int], deque[Callable[[], None]]] = {}  # by stage and microbatch
        self._until_told = False

    def defer(self, module: nn.Module, *, head: bool = True) -> None:
        """Fill the slots of a module's products so that their weights' gradients wait; all but those of a weight that
        something else reads, too: that gradient is whole only after all have. `head=False`: and that of the product
        with the vocabulary, which would hold on to a gradient as large as the logits."""
        uses = Counter(id(weight) for _, weight in module.named_parameters(remove_duplicate=False))
        for linear in module.modules():
            if isinstance(linear, Linear) and uses[id(linear.weight)] == 1 and (head or not isinstance(linear, Head)):
                linear.multiply = self.multiply(linear)

    def multiply(self, linear: Linear) -> Multiply:
        """The slot of a product whose weight's gradient waits."""

        def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            if not torch.is_grad_enabled():
                return F.linear(x, weight, bias)
            result: Tensor = _Product.apply(x, weight.detach(), bias, linear, self)
            return result

        return product

    def make(self) -> None:
        """All that wait, in the order of backward."""
        while self._waiting:
            self._waiting.popleft()()

    def meanwhile(self) -> None:
        """The same, while something else goes on; nothing where a backward of inputs alone runs."""
        if not self._until_told:
            self.make()

    @contextmanager
    def set_apart(self, stage: int, microbatch: int) -> Iterator[None]:
        """What comes to wait in this backward is made by `make_apart`, and by nothing before."""
        assert not self._waiting, "gradients of an earlier backward wait still"
        self._until_told = True
        try:
            yield
        finally:
            self._until_told = False
            self._apart[stage, microbatch], self._waiting = self._waiting, deque()

    def make_apart(self, stage: int, microbatch: int) -> None:
        """What was set apart of a stage and a microbatch."""
        self._waiting = self._apart.pop((stage, microbatch))
        self.make()

    def wait_for(self, linear: Linear, x: Tensor, gradient: Tensor) -> None:
        """That of a product of `x` (…, inner), whose own gradient is `gradient` (…, outer)."""
        self._waiting.append(partial(self._add, linear, x, gradient))

    @torch.no_grad()
    def _add(self, linear: Linear, x: Tensor, gradient: Tensor) -> None:
        weight, inner, outer = linear.weight, x.flatten(0, -2), gradient.flatten(0, -2)
        one, other = (inner, outer) if linear.transposed else (outer, inner)
        if weight.grad is None:
            weight.grad = one.t() @ other
        else:
            torch.addmm(weight.grad, one.t(), other, out=weight.grad)
        self.made(weight)


class _Product(torch.autograd.Function):
    """x Wᵀ + b; in backward, the gradients of x and b."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, linear: Linear, waiting: WeightGradients
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.linear, ctx.waiting = linear, waiting
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        ctx.waiting.wait_for(ctx.linear, x, gradient)
        of_bias = gradient.flatten(0, -2).sum(0) if ctx.needs_input_grad[2] else None
        return gradient @ weight, None, of_bias, None, None
