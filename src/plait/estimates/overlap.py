"""Which collective is on its way while what is computed, and what of it is waited for.

    into a half      [gather x]  q k v                backward  dq dk dv ⊕ …… meanwhile: gradients of weights
    out of a half    out  ⊕                           backward  [gather dy]  d out
    cut in pieces    x₀ q₀ │ x₁ q₁ │ x₂ q₂            each piece is on its way while the one before it is computed
    after a step     backward  b₃ b₂ b₁ b₀            gradients of b₃ leave while b₂ is computed, and of b₀ at the end

[ ]: under sequence parallelism alone. What takes t behind work of w seconds holds it up for max(0, t - w), and in n
pieces for t / n at least: one has nothing to hide behind. It knows seconds and who is busy when, no layer and no link.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from plait.estimates.arrangements import SCHEDULES, Arrangements, Column, Numbers
from plait.estimates.practice import Practice

__all__ = ["Product", "Waits", "entering", "in_pieces", "late", "leaving", "travelling"]


class Product(NamedTuple):
    """Seconds of one product of a layer: forward, and in backward the gradients of its input and of its weights."""

    forward: Column
    inputs: Column
    weights: Column

    @property
    def backward(self) -> Column:
        """Of both gradients."""
        return self.inputs + self.weights

    def and_(self, other: Product) -> Product:
        """Those of two products."""
        return Product(*(one + two for one, two in zip(self, other, strict=True)))


class Waits(NamedTuple):
    """Seconds that a layer's passes wait on the tensor axis; `hidden`: those that backward would wait, too, were the
    gradients of weights not made meanwhile."""

    forward: Column
    backward: Column
    hidden: Column

    def and_(self, other: Waits) -> Waits:
        """Those of two ends of a layer."""
        return Waits(*(one + two for one, two in zip(self, other, strict=True)))


def late(transfers: Column | float, work: Column | float) -> Column:
    """What of the transfers is left over when so much work hides them."""
    return np.maximum(0.0, transfers - work)


def in_pieces(transfers: Column | float, work: Column | float, pieces: Column | Numbers | int) -> Column:
    """What is waited for of transfers and work that are cut in so many pieces, of which each is on its way while
    another is computed: one piece, and what the others are late."""
    return np.maximum(late(transfers, work * (1 - 1 / pieces)), transfers / pieces)


def entering(
    rows: Arrangements, practice: Practice, whole: Column, product: Product, waiting: Column | float = 0.0
) -> Waits:
    """Of the values that `product` reads on every tensor rank; `whole`: seconds of an all-reduce of them. Backward sums
    their gradients, while those of the product's weights are made, and of others that were left `waiting`."""
    half, nothing = whole / 2, np.zeros(len(rows))
    gathered = in_pieces(half, product.forward, rows.tensor) if practice.pipelined_tensor else half
    summed = np.where(rows.sequence_parallel, half, whole)
    meanwhile = product.weights + (waiting if practice.waiting_weights else 0.0)
    back = late(summed, meanwhile) if practice.overlap_tensor else summed
    return Waits(np.where(rows.sequence_parallel, gathered, nothing), back, summed - back)


def leaving(rows: Arrangements, practice: Practice, whole: Column, product: Product | None = None) -> Waits:
    """Of the values that `product` makes a part of on every tensor rank: they are summed, or each rank gets the sum of
    its tokens, whose gradients backward gathers."""
    half, nothing = whole / 2, np.zeros(len(rows))
    ahead = back = half
    if practice.pipelined_tensor and product is not None:
        ahead, back = (in_pieces(half, one, rows.tensor) for one in (product.forward, product.inputs))
    return Waits(
        np.where(rows.sequence_parallel, ahead, whole), np.where(rows.sequence_parallel, back, nothing), nothing
    )


def travelling(plans: Arrangements, passed: Column, group: Numbers) -> Column:
    """Seconds behind which the weights of a rank's stages travel, that takes `passed` seconds through all of them with
    one microbatch. Interleaved stages take turns with p microbatches: between a stage's last one and the next stage's
    lie those of the last `group`, or of the first as long as weights are only arriving (Narayanan et al. 2021, figure
    4); others are done together."""
    v = np.maximum(plans.virtual_stages, 1)
    between = np.where(plans.schedule == SCHEDULES.index("interleaved"), group * (v - 1), 0)
    return passed * (between + 1) / v
