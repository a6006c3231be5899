"""One block, or the head, for one microbatch on one rank: seconds of forward, of backward, and of what is done again.

    forward     norm  q k v  attend  out  ⊕  +   norm  up  activate  down  ⊕  +       ⊕ summed over the tensor axis
    backward    each product twice, each move about twice
    again       with full recompute all of forward, with selective the attention core

Columns: one row for each distinct (tensor, context, expert, microbatch, sequence_parallel). `tokens` are a rank's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, reduce

import numpy as np

from plait.estimates.arrangements import Arrangements, Column
from plait.estimates.collectives import Network
from plait.estimates.kernels import Kernels
from plait.estimates.overlap import Product, Waits, entering, leaving
from plait.estimates.practice import Practice
from plait.estimates.rank_groups import rank_group
from plait.estimates.widths import Widths, widths
from plait.specs.model import Experts, ModelSpec

__all__ = ["Part", "Parts", "Shapes"]

_FLASH = {"forward": 0.72, "backward": 0.60}  # of the sustained rate of products, by SimuMax's points for two devices
_FLASH_ROWS = 128
_FILLED = 16  # rows of an expert's product are filled up to a multiple of this
_PADDED = 128  # a rank's rows of the vocabulary are filled up to a multiple of this
_BACKWARD_KERNELS = 1.7  # launched for each of forward's


@dataclass(frozen=True, kw_only=True)
class Part:
    """Seconds of one pass, column by column: what the device computes, how many kernels are launched for it, and what
    it waits for on the tensor, context and expert axes. Of `compute`, `weights` are products that give the gradients of
    weights and can be made later, by an action W; `hidden`: what else would be waited for on the tensor axis then."""

    compute: Column
    weights: Column
    hidden: Column
    kernels: Column
    tensor: Column
    context: Column
    expert: Column

    def __add__(self, other: Part) -> Part:
        return Part(**{name: getattr(self, name) + getattr(other, name) for name in vars(self)})

    def times(self, factor: Column | float) -> Part:
        """The same, so many times."""
        return Part(**{name: getattr(self, name) * factor for name in vars(self)})


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A layer's passes."""

    forward: Part
    backward: Part
    again: Part

    def __add__(self, other: Parts) -> Parts:
        return Parts(**{name: getattr(self, name) + getattr(other, name) for name in vars(self)})


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What blocks are priced from: the model and its sequences, the distinct rows, the device and its links."""

    model: ModelSpec
    sequence: int
    rows: Arrangements
    kernels: Kernels
    network: Network
    practice: Practice

    @property
    def tokens(self) -> Column:
        return self.rows.microbatch * (self.sequence / self.rows.context)

    @property
    def each(self) -> float:
        """Bytes of an activation."""
        return float(self.kernels.itemsize)

    @property
    def residual(self) -> Column:
        """Tokens of a rank's part of the residual stream."""
        return np.where(self.rows.sequence_parallel, self.tokens / self.rows.tensor, self.tokens)

    @cached_property
    def residual_sum(self) -> Column:
        """Seconds of an all-reduce of the residual stream over the tensor axis."""
        return self._sum(self.tokens * self.model.hidden * self.each)

    @property
    def widths(self) -> Widths:
        """Features of a token in attention."""
        return widths(self.model, self.rows.tensor)

    def nothing(self) -> Part:
        zero = np.zeros(len(self.rows))
        return Part(**{field.name: zero for field in fields(Part)})

    # ---- layers -----------------------------------------------------------------------------------------------------

    def block(self, number: int) -> Parts:
        """A block, by its number from 0."""
        experts = self.model.experts_of(number)
        causal = self.model.family == "gpt" or number >= self.model.encoder_layers > 0
        attention = self._attention(causal)
        if self.model.crosses(number):
            attention = attention + self._attention(causal=False)
        feed = self._experts(experts) if experts else self._mlp(self.model.ffn)
        forward, backward = attention.forward + feed.forward, attention.backward + feed.backward
        again = [self.nothing(), self._selected(forward, attention.again), forward]  # none, selective, full
        chosen = {name: np.choose(self.rows.recompute, [getattr(one, name) for one in again]) for name in vars(forward)}
        return Parts(forward=forward, backward=backward, again=Part(**chosen))

    def _selected(self, forward: Part, attention: Part) -> Part:
        """What selective recompute does again: attention, or what latent attention's heads are made of; where scores
        are not kept and the program selects products, half of these and all that is element-wise, without messages."""
        if not (self.practice.fused_attention and self.practice.selects_products):
            return attention
        return replace(self.nothing(), compute=0.5 * forward.compute, kernels=0.5 * forward.kernels)

    def head(self) -> Parts:
        """What stands behind the last block: the loss, and for each further token that is predicted a block like the
        last, which reads a token's embedding as well, with a loss of its own (arXiv 2412.19437, section 2.2)."""
        found = once = self._loss()
        for _ in range(self.model.prediction_layers):
            found = found + self._joining() + self.block(self.model.layers - 1) + once
        return found

    def _loss(self) -> Parts:
        """The norm, the product with the vocabulary and the loss."""
        columns = np.ceil(self.model.vocab / self.rows.tensor / _PADDED) * _PADDED
        product = self._product(self.tokens, columns, np.asarray(float(self.model.hidden)))
        logits = self.tokens * columns * 4.0
        forward = product.forward + self.kernels.move(3 * logits, kernels=4) + self._norm()
        backward = product.backward + self.kernels.move(2 * logits, kernels=3) + 2 * self._norm()
        waits = entering(self.rows, self.practice, self.residual_sum, product)
        return self._passes(forward, backward, kernels=8, waits=waits)

    def _joining(self) -> Parts:
        """Hidden vectors and the next tokens' embeddings, normalised, become one vector; ranks gather their parts."""
        hidden = self.model.hidden
        product = self._product(self.tokens, hidden / self.rows.tensor, np.asarray(2.0 * hidden))
        gathered = self.residual_sum / 2
        parts = self._passes(
            product.forward + 2 * self._norm(), product.backward + 4 * self._norm(), kernels=5,
            waits=Waits(gathered, gathered, np.zeros(len(self.rows))),
        )  # fmt: skip
        return parts + self.embedding()

    def embedding(self) -> Parts:
        """Looking tokens up, and adding their gradients into the table's."""
        size = self.residual * self.model.hidden * self.each
        table = self.model.vocab * self.model.hidden / self.rows.tensor * float(self.practice.gradient_bytes)
        return self._passes(
            self.kernels.move(3 * size, kernels=4), self.kernels.move(4 * size + table, kernels=3), kernels=5,
            waits=leaving(self.rows, self.practice, self.residual_sum),
        )  # fmt: skip

    # ---- halves of a block ------------------------------------------------------------------------------------------

    def _attention(self, causal: bool) -> Parts:
        model = self.model
        products = [self._product(*one) for one in self._projections()]
        core, core_back = self._core(causal)
        moves = self._moved(3 * self.residual * model.hidden)
        if model.positions == "rope":
            moves = moves + self._moved(2 * self.tokens * (self.widths.queries + self.widths.keys))
        forward, backward = core + moves + self._norms(), core_back + 2 * (moves + self._norms())
        count = 12.0 if self.practice.fused_attention else 19.0
        own, enters = products, self.residual_sum
        if model.latent is not None:  # each rank makes the short vectors by itself, from which its heads are made
            own, enters = products[1:], self._sum(self.tokens * self.widths.short * self.each)
        parts = self._half(forward, backward, count, products, self._around(own, enters))
        ring = self._ring(core)
        again = self.nothing()
        if not self.practice.fused_attention:
            again = replace(again, compute=core, kernels=np.full(len(self.rows), 7.0))
        for product in self._up() if self.practice.fused_attention else ():
            again = replace(again, compute=again.compute + self._product(*product).forward, kernels=again.kernels + 1)
        return Parts(
            forward=replace(parts.forward, context=ring),
            backward=replace(parts.backward, context=2 * ring),
            again=again,
        )

    def _mlp(self, ffn: int) -> Parts:
        width = ffn / self.rows.tensor
        products = [self._product(*one) for one in self._feed(self.tokens, width)]
        moves = self._moved(
            (3 if self.model.gated else 2) * self.tokens * width + 3 * self.residual * self.model.hidden
        )
        moves = moves + self._norms()
        return self._half(moves, 2 * moves, 9.0, products, self._around(products, self.residual_sum))

    def _experts(self, experts: Experts) -> Parts:
        rows, hidden = self.rows, self.model.hidden
        tokens = self.tokens / rows.tensor  # each tensor rank routes its part
        routed = tokens * experts.per_token
        width, local = float(experts.ffn), experts.count / rows.expert
        each = np.ceil(np.maximum(routed * rows.expert / experts.count, 1.0) / _FILLED) * _FILLED
        chosen = self.kernels.multiply(tokens, np.asarray(float(experts.count)), np.asarray(float(hidden)))
        products = [self._product(*one, local) for one in self._feed(each, np.asarray(width))]
        moves = self._norms() + self._moved((3 if self.model.gated else 2) * routed * width + 8 * routed * hidden)
        whole, nothing = self.residual_sum, np.zeros(len(rows))
        gathered = np.where(rows.sequence_parallel, 0.0, whole / 2)  # each rank's part of the results, for all of them
        waits = Waits(gathered, gathered, nothing)
        if experts.shared:
            shared = [self._product(*one) for one in self._feed(self.tokens, experts.shared * width / rows.tensor)]
            products, waits = [*products, *shared], waits.and_(self._around(shared, whole))
        parts = self._half(chosen + moves, 2 * moves, self.kernels.constants.routed, products, waits)
        sent = self.network.dispatch(tokens * hidden * self.each, experts.per_token, *rank_group(rows, "expert"))
        return Parts(
            forward=replace(parts.forward, expert=2 * sent), backward=replace(parts.backward, expert=2 * sent),
            again=parts.again,
        )  # fmt: skip

    # ---- operations -------------------------------------------------------------------------------------------------

    def _projections(self) -> Iterator[tuple[Column, Column, Column]]:
        tokens, hidden, wide = self.tokens, np.asarray(float(self.model.hidden)), self.widths
        if self.model.latent is None:
            yield tokens, wide.queries + wide.keys + wide.values, hidden
        else:
            yield self.residual, np.asarray(wide.short), hidden
        yield from self._up()
        yield tokens, hidden, wide.attended

    def _up(self) -> Iterator[tuple[Column, Column, Column]]:
        """The products that make latent attention's heads from its short vectors."""
        latent, wide = self.model.latent, self.widths
        if latent is not None:
            keys = self.model.heads * latent.plain / self.rows.tensor
            yield self.tokens, wide.queries, np.asarray(float(latent.query_rank or self.model.hidden))
            yield self.tokens, keys + wide.values, np.asarray(float(latent.kv_rank))

    def _feed(self, tokens: Column, width: Column) -> Iterator[tuple[Column, Column, Column]]:
        hidden = np.asarray(float(self.model.hidden))
        yield tokens, (2 if self.model.gated else 1) * width, hidden
        yield tokens, hidden, width

    def _product(self, m: Column, n: Column, k: Column, times: Column | float = 1.0) -> Product:
        multiply = self.kernels.multiply
        return Product(multiply(m, n, k, times), multiply(m, k, n, times), multiply(n, k, m, times))

    def _core(self, causal: bool) -> tuple[Column, Column]:
        """Attention itself: q kᵀ, softmax, times v."""
        model, rows = self.model, self.rows
        heads = rows.microbatch * model.heads / rows.tensor
        asked, seen = self.sequence / rows.context, float(min(self.sequence, model.window or self.sequence))
        if self.practice.fused_attention:
            share = 0.5 if causal and seen == self.sequence else 1.0
            flops = 2 * heads * asked * seen * (model.key_dim + model.value_dim) * share
            blocks = heads * np.ceil(asked / _FLASH_ROWS)
            units = self.kernels.device.units
            used = blocks / (np.ceil(blocks / units) * units)
            rate = self.kernels.attention_rate(self.practice.attention_kernel) * used
            return flops / (rate * _FLASH["forward"]), 2.5 * flops / (rate * _FLASH["backward"])
        one = self.kernels.multiply(asked, np.asarray(seen), np.asarray(float(model.key_dim)), heads)
        two = self.kernels.multiply(asked, np.asarray(float(model.value_dim)), np.asarray(seen), heads)
        pairs = heads * asked * seen
        dropped = (2 * self.each + 1) * self.practice.masks  # read, written, and a byte of mask
        ahead = self.kernels.move(pairs * (2 * self.each + dropped), kernels=3)
        back = self.kernels.move(pairs * (3 * self.each + dropped), kernels=3)
        return one + two + ahead, 2 * (one + two) + back

    def _norms(self) -> Column:
        """Of one half of a block: before it, and of some models behind it."""
        return (2 if self.model.post_norms else 1) * self._norm()

    def _norm(self) -> Column:
        return self._moved(2 * self.residual * self.model.hidden)

    def _moved(self, elements: Column) -> Column:
        loose = 1.0 if self.practice.compiled or self.practice.fused_kernels else self.kernels.constants.loose
        return self.kernels.move(loose * elements * self.each, kernels=2)

    def _sum(self, size: Column) -> Column:
        """A sum over the tensor axis, or its two halves."""
        return self.network.all_reduce(size, *rank_group(self.rows, "tensor"))

    def _ring(self, core: Column) -> Column:
        """What of the keys' and values' way around the context axis attention does not hide."""
        rows = self.rows
        size = self.each * rows.microbatch * self.sequence * (self.widths.keys + self.widths.values)
        sent = self.network.reduce_scatter(size, *rank_group(rows, "context"))
        return np.maximum(0.0, sent - core)

    def _around(self, products: Sequence[Product], enters: Column) -> Waits:
        """A half's on the tensor axis: of what `enters`, by the seconds of an all-reduce, which all products but the
        last one read, and of its result, which that makes."""
        *readers, last = products
        into = entering(self.rows, self.practice, enters, reduce(Product.and_, readers), waiting=last.weights)
        return into.and_(leaving(self.rows, self.practice, self.residual_sum, last))

    def _half(
        self, forward: Column, backward: Column, kernels: float, products: Sequence[Product], waits: Waits
    ) -> Parts:
        """Both passes of a half: its products, and what is computed beside them."""
        whole = reduce(Product.and_, products)
        return self._passes(forward + whole.forward, backward + whole.backward, kernels, waits, whole.weights)

    def _passes(
        self, forward: Column, backward: Column, kernels: float, waits: Waits, weights: Column | float = 0.0
    ) -> Parts:
        """Both passes of a layer or a half."""
        launched = kernels * (0.5 if self.practice.compiled else 1.0)
        called = np.where(self.rows.tensor > 1, self.kernels.constants.called, 0.0)
        first = replace(self.nothing(), compute=forward, kernels=called + launched, tensor=waits.forward)
        second = replace(
            self.nothing(), compute=backward, weights=weights + np.zeros(len(self.rows)), hidden=waits.hidden,
            kernels=called + launched * _BACKWARD_KERNELS, tensor=waits.backward,
        )  # fmt: skip
        return Parts(forward=first, backward=second, again=self.nothing())
