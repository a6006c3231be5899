"""What a rank has of its stage's weights, and what of them it updates: everything, or its pieces (ZeRO 1 and 2).

    level      kept: updated here     there: between steps     after an update
    0          whole                  whole                    nothing
    1, 2       pieces                 whole                    all-gathers, which the next forward waits for by layer
    3          pieces                 pieces                   nothing (`gathered_weights`)

Kept pieces are views of the whole weights, which lie in flat buffers like the gradients'. It knows named weights and
layers, not why they are cut as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from plait.collectives.functional import Handle, all_gather_in, buffer
from plait.collectives.process_groups import Group
from plait.collectives.wire import Buffer
from plait.layers.layer import Layer
from plait.models.gpt import Decoder, LayerCall
from plait.models.sequences import Sequences
from plait.parallel.data_parallel import Pieces, parts_of, piece_of, views_of
from plait.schedules.action import Kind

__all__ = ["SpreadWeights", "Weights", "WholeWeights"]


class Weights(Protocol):
    """The weights of one rank's stages through the steps of a run."""

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """By name, what this rank updates of each weight; one of which it keeps nothing is left out."""
        ...

    @property
    def there(self) -> Mapping[str, Tensor]:
        """By name, what this rank has of each weight between steps."""
        ...

    def begin(self, program: Sequence[tuple[int, Kind]]) -> None:
        """These actions follow: each of which of the rank's stages, and its kind."""
        ...

    def absent(self, turn: int, kind: Kind) -> None:
        """Another data rank performs one of them now, and this one has no microbatch for it."""
        ...

    def end(self) -> None:
        """They are over."""
        ...

    def renew(self) -> None:
        """What is kept has been written: all that use these weights are to see it."""
        ...

    def settle(self) -> None:
        """Return when no other rank reads what is kept here."""
        ...


class WholeWeights:
    """Every rank updates all that it has."""

    def __init__(self, weights: Mapping[str, torch.nn.Parameter]) -> None:
        self.kept = self.there = weights

    def begin(self, program: Sequence[tuple[int, Kind]]) -> None:
        """As `Weights`."""

    def absent(self, turn: int, kind: Kind) -> None:
        """As `Weights`."""

    def end(self) -> None:
        """As `Weights`."""

    def renew(self) -> None:
        """As `Weights`."""

    def settle(self) -> None:
        """As `Weights`."""


class SpreadWeights:
    """Every rank has whole weights and updates its pieces of them; afterwards all give each other theirs. `meet`: the
    ranks have something to tell each other before each program, which new weights must not hold up on their wire."""

    def __init__(
        self,
        decoder: Decoder,
        stage: Sequence[Layer],
        weights: Mapping[str, torch.nn.Parameter],
        buckets: Sequence[Sequence[str]],
        pieces: Pieces,
        group: Group,
        *,
        meet: bool = False,
    ) -> None:
        self._weights, self._group, self._meet = weights, group, meet
        self._buckets = [tuple(bucket) for bucket in reversed(buckets)]  # as forward needs them
        self._held = [self._moved(bucket) for bucket in self._buckets]
        self._parts = [
            parts_of({name: weights[name].data for name in bucket}, pieces, group.size) for bucket in self._buckets
        ]
        data = {name: weight.data for name, weight in weights.items()}
        mine = {name: piece_of(data, pieces[name][group.index]) for name in weights}
        self.kept = {name: piece for name, piece in mine.items() if piece.numel()}
        self._new = False  # whether something was written that has not left yet
        self._under_way: dict[int, Handle[Tensor]] = {}
        self._needed = [self._buckets_of(layer) for layer in stage]
        self._layers = decoder.layers
        decoder.layers = self._around  # its forward asks for its layers, and gets them with new weights

    @property
    def there(self) -> Mapping[str, Tensor]:
        """As `Weights`."""
        self.settle()
        return self._weights

    def begin(self, program: Sequence[tuple[int, Kind]]) -> None:
        """As `Weights`: the ranks have met."""
        self._leave()

    def absent(self, turn: int, kind: Kind) -> None:
        """As `Weights`."""

    def end(self) -> None:
        """As `Weights`: without a microbatch nothing has waited for what is under way."""
        self.settle()

    def renew(self) -> None:
        """As `Weights`: all buckets leave at once, here, or once the ranks have met."""
        self._new = True
        if not self._meet:
            self._leave()

    def settle(self) -> None:
        """As `Weights`."""
        self._require(range(len(self._buckets)))

    def _leave(self) -> None:
        if self._new:
            self._new = False
            self._start()

    def _start(self) -> None:
        """Begin to give each other all buckets."""
        for number, (held, parts) in enumerate(zip(self._held, self._parts, strict=True)):
            self._under_way[number] = all_gather_in(held, parts, self._group)

    def _moved(self, bucket: Sequence[str]) -> Buffer:
        """A buffer in which these weights have their memory from now on."""
        first = self._weights[bucket[0]]
        shapes = {name: self._weights[name].shape for name in bucket}
        held = buffer(sum(shape.numel() for shape in shapes.values()), first.dtype, first.device, self._group)
        for name, view in views_of(held.own, shapes).items():
            view.copy_(self._weights[name].data)
            self._weights[name].data = view
        return held

    def _buckets_of(self, layer: Layer) -> list[int]:
        names = {weight.name for weight in layer.weights}
        return [number for number, bucket in enumerate(self._buckets) if names & set(bucket)]

    def _require(self, numbers: Sequence[int]) -> None:
        self._leave()
        for number in numbers:
            handle = self._under_way.pop(number, None)
            if handle is not None:
                handle.wait()

    def _around(self) -> list[tuple[str, LayerCall]]:
        return [
            (name, partial(self._call, needed, layer))
            for needed, (name, layer) in zip(self._needed, self._layers(), strict=True)
        ]

    def _call(self, needed: Sequence[int], layer: LayerCall, hidden: Tensor | None, sequences: Sequences) -> Tensor:
        self._require(needed)
        return layer(hidden, sequences)
