"""The slots: what may be replaced from outside in a plain model, so that it knows nothing of how it is split.

    slot                         of                              default
    lookup(numbers, weight)      Embedding (tokens, positions)   F.embedding
    enter(x)                     Attention, MLP, Head            identity; once, before all products that read x
    multiply(x, weight, bias)    Linear, Head                    F.linear
    attend(q, k, v, …)           Attention                       Attend(), see `attend`
    cross_entropy(logits, …)     Head                            cross_entropy_sum
    share(rows)                  Dropout                         identity

A slot is a plain callable in an attribute: it holds no weight and has no name in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

__all__ = ["CrossEntropy", "Enter", "Lookup", "Multiply", "Share", "identity"]

Lookup = Callable[[Tensor, Tensor], Tensor]
Enter = Callable[[Tensor], Tensor]
Multiply = Callable[[Tensor, Tensor, Tensor | None], Tensor]
CrossEntropy = Callable[[Tensor, Tensor], Tensor]
Share = Callable[[Tensor], Tensor]


def identity(x: Tensor) -> Tensor:
    """The slot that does nothing."""
    return x
