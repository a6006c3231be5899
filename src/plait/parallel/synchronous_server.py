"""A synchronous parameter server: gradients are sent to those that serve them, summed there, and new weights sent back.

    worker 0  [ a0 b0 ]──a0──►server 0:  a = a0 + a1  ─ update ─ a' ──► all
    worker 1  [ a1 b1 ]──b1──►server 1:  b = b0 + b1  ─ update ─ b' ──► all

It is ZeRO 1 over sends and receives: the pieces may lie with any of the ranks, and those that only serve give nothing.
Servers add workers' gradients in their order, so that the sums are those of a dense all-reduce to the bit. How weights
are cut, and who works, is told to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from plait.collectives.functional import Handle
from plait.collectives.packed import packed, put_back
from plait.collectives.point_to_point import Exchange, start_transfers
from plait.collectives.process_groups import Group
from plait.collectives.wire import Transfer
from plait.parallel.data_parallel import GradientBuffers, Pieces
from plait.parallel.weights import SpreadWeights

__all__ = ["PulledWeights", "PushedGradients"]


class PushedGradients(GradientBuffers):
    """As `GradientBuffers` with pieces, which are what each data rank serves; the first `workers` ranks push."""

    def __init__(
        self,
        weights: dict[str, torch.nn.Parameter],
        buckets: Sequence[Sequence[str]],
        group: Group,
        dtype: torch.dtype,
        pieces: Pieces,
        *,
        workers: int,
    ) -> None:
        self._workers = range(workers)
        super().__init__(weights, buckets, group, dtype, pieces)

    def _sum(self, number: int) -> Handle[object]:
        group, parts = self._group, self._parts[number]
        mine = parts[group.index]
        if group.wire is None:
            return Handle(group.axis, None, lambda: mine)
        flat = self.flat[number]
        sent = {place: packed(part, flat) for place, part in enumerate(parts) if part and place != group.index}
        found = sum(piece.numel() for piece in mine)
        givers = [place for place in self._workers if place != group.index] if found else []
        came = {place: flat.new_empty(found) for place in givers}
        exchange = _exchanged(sent if group.index in self._workers else {}, came, group)
        return Handle(group.axis, None, partial(self._added, mine, sent, came, exchange))

    def _added(
        self, mine: Sequence[Tensor], sent: dict[int, Tensor], came: dict[int, Tensor], exchange: Exchange | None
    ) -> None:
        """Sum what came into this rank's pieces; what was sent lives until it has left."""
        if exchange is None:
            return
        exchange.wait_for_receives()
        if came:
            own = {self._group.index: packed(mine, mine[0])} if self._group.index in self._workers else {}
            first, *rest = (given for _, given in sorted({**came, **own}.items()))
            for given in rest:
                first.add_(given)
            put_back(first, mine)
        exchange.wait_for_sends()
        sent.clear()


class PulledWeights(SpreadWeights):
    """As `SpreadWeights`: each rank sends the others what it serves."""

    def _start(self) -> None:
        if self._group.wire is None:
            return
        for number, (held, parts) in enumerate(zip(self._held, self._parts, strict=True)):
            mine = parts[self._group.index]
            others = [place for place in range(self._group.size) if place != self._group.index]
            sent = dict.fromkeys(others, packed(mine, held.own)) if mine else {}
            came = {place: held.own.new_empty(sum(piece.numel() for piece in parts[place])) for place in others}
            came = {place: landing for place, landing in came.items() if landing.numel()}
            exchange = _exchanged(sent, came, self._group)
            done = partial(self._pulled, number, sent, came, exchange)
            self._under_way[number] = Handle(self._group.axis, None, done)

    def _pulled(
        self, number: int, sent: dict[int, Tensor], came: dict[int, Tensor], exchange: Exchange | None
    ) -> Tensor:
        if exchange is not None:
            exchange.wait_for_receives()
            for place, given in came.items():
                put_back(given, self._parts[number][place])
            exchange.wait_for_sends()
            sent.clear()
        return self._held[number].own


def _exchanged(sent: dict[int, Tensor], came: dict[int, Tensor], group: Group) -> Exchange | None:
    transfers = [
        *(Transfer(direction="send", tensor=tensor, peer=place) for place, tensor in sent.items()),
        *(Transfer(direction="receive", tensor=tensor, peer=place) for place, tensor in came.items()),
    ]
    return start_transfers(transfers, group) if transfers else None
