"""Weights of which each data rank keeps its rows alone (ZeRO 3): a layer's are whole while it is in use.

    rows kept     [ wte | b0 | b1 | b2 | … ]     by unit, in memory that the other ranks see
    whole                 b0   b1                 the layer in use, and the next, which is on its way meanwhile

What is whole when, and what is fetched and dropped before each use, is `plans.fetching`; here it is performed, around
the calls that the decoder makes of its layers and before each layer's backward, or without either for a microbatch
that only other data ranks have: all fetch the same, in the same order. A weight that is not whole has its
shape and no memory: its parameter stays the one that autograd knows.

Where a wire receives into memory of its own, a layer that is being put together stands there twice for a moment. So the
next one is asked for after that, and not before: what is received of both would stand beside the layers that are whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from plait.collectives.functional import Handle, all_gather_of, all_reduce, buffer
from plait.collectives.packed import put_back
from plait.collectives.process_groups import Group
from plait.errors import PlaitError
from plait.layers.layer import Layer
from plait.models.gpt import Decoder, LayerCall
from plait.models.sequences import Sequences
from plait.parallel.data_parallel import Pieces, piece_of, shape_of, views_of
from plait.plans.fetching import Turn, Unit, turns, units, uses
from plait.plans.holdings import Held
from plait.schedules.action import Kind

__all__ = ["GatheredWeights", "hollow"]


def hollow(shape: Sequence[int], like: Tensor, device: torch.device) -> torch.nn.Parameter:
    """A parameter of a shape that has no memory yet."""
    weight = torch.nn.Parameter(torch.empty(tuple(shape), dtype=like.dtype, device=device))
    _empty(weight)
    return weight


class GatheredWeights:
    """The weights of one rank's stages, as `Weights` has them; `values` fill the pieces of this rank at first. `over`
    is told before each layer's backward which weights can't get a gradient any more, so that their sums come before
    what is fetched then, on every rank."""

    def __init__(
        self,
        decoder: Decoder,
        stages: Sequence[Sequence[Layer]],
        held: Sequence[Held],
        weights: Mapping[str, torch.nn.Parameter],
        values: Mapping[str, Tensor],
        pieces: Pieces,
        group: Group,
        over: Callable[[Collection[str]], None],
    ) -> None:
        self._stages, self._group, self._over = tuple(stages), group, over
        self._stage = tuple(layer for stage in stages for layer in stage)
        self._known = units(self._stage, held)
        self._behind = [
            frozenset(one.weight.name for unit in self._known if unit.places[0] > place for one in unit.weights)
            for place in range(len(self._stage))
        ]
        self._units = [_Unit(unit, weights, pieces, group) for unit in self._known]
        self.kept = self.there = {name: piece for unit in self._units for name, piece in unit.kept.items()}
        for name, piece in self.kept.items():
            piece.copy_(values[name])
        self._device = next(iter(weights.values())).device
        self._turns: Iterator[Turn] = iter(())
        self._there: tuple[int, ...] = ()
        self._layers = decoder.layers
        decoder.layers = self._around  # its forward asks for its layers, and gets them with their weights

    def begin(self, program: Sequence[tuple[int, Kind]]) -> None:
        """As `Weights`."""
        self._turns = turns(self._known, list(uses(self._stages, program)))

    def absent(self, turn: int, kind: Kind) -> None:
        """As `Weights`: this rank gives its pieces to those that compute."""
        for place in uses(self._stages, [(turn, kind)]):
            if kind is not Kind.F:
                self._over(self._behind[place])
            self._use(place)

    def end(self) -> None:
        """As `Weights`: nothing is whole any more."""
        for number in self._there:
            self._units[number].drop()
        self._there = ()

    def renew(self) -> None:
        """As `Weights`: what is fetched next is new."""

    def settle(self) -> None:
        """As `Weights`: a step of training needs none, since its sums of gradients come between reading and writing."""
        all_reduce(torch.zeros(1, device=self._device), self._group).wait()

    def _around(self) -> list[tuple[str, LayerCall]]:
        return [(name, partial(self._call, place, layer)) for place, (name, layer) in enumerate(self._layers())]

    def _call(self, place: int, layer: LayerCall, hidden: Tensor | None, sequences: Sequences) -> Tensor:
        self._use(place)
        value = layer(hidden, sequences)
        if value.requires_grad and self._stage[place].kind != "embedding":
            value.register_hook(partial(self._before_backward, place))
        return value

    def _before_backward(self, place: int, gradient: Tensor) -> None:
        self._over(self._behind[place])
        self._use(place)

    def _use(self, place: int) -> None:
        turn = next(self._turns, None)
        if turn is None or turn.place != place:
            raise PlaitError(f"{self._stage[place].name} is used out of the order of its schedule")
        for number in turn.dropped:
            self._units[number].drop()
        now = [number for number in turn.fetched if number in turn.needed]
        for number in now:
            self._units[number].fetch()
        for number in turn.needed:
            self._units[number].wait()
        for number in turn.fetched:
            if number not in now:
                self._units[number].fetch()
        self._there = turn.there


class _Unit:
    """Weights that travel together; `kept`: this rank's pieces of them, one after another in a buffer."""

    def __init__(self, unit: Unit, weights: Mapping[str, torch.nn.Parameter], pieces: Pieces, group: Group) -> None:
        self._group = group
        self._weights = {one.weight.name: weights[one.weight.name] for one in unit.weights}
        self._pieces = [[pieces[name][rank] for name in self._weights] for rank in range(group.size)]
        shapes = {name: weight.shape for name, weight in self._weights.items()}
        kept = [{p.name: shape_of(p, shapes[p.name]) for p in pieces} for pieces in self._pieces]  # by data rank
        self._counts = [sum(shape.numel() for shape in found.values()) for found in kept]
        first = next(iter(self._weights.values()))
        self._buffer = buffer(self._counts[group.index], first.dtype, first.device, group)
        own = views_of(self._buffer.own, kept[group.index])
        self.kept = {name: piece for name, piece in own.items() if piece.numel()}
        self._targets: list[list[Tensor]] = []  # by data rank, where its pieces go: made when there is memory to view
        self._under_way: Handle[Sequence[Tensor]] | None = None

    def fetch(self) -> None:
        """Begin to bring all ranks' pieces together."""
        self._under_way = all_gather_of(self._buffer, self._counts, self._group)

    def wait(self) -> None:
        """The weights are whole."""
        if self._under_way is None:
            return
        flats, self._under_way = self._under_way.wait(), None
        for weight in self._weights.values():
            weight.untyped_storage().resize_(weight.numel() * weight.itemsize)
        self._targets = self._targets or self._cut()
        for flat, pieces in zip(flats, self._targets, strict=True):
            put_back(flat, pieces)

    def _cut(self) -> list[list[Tensor]]:
        """Autograd is told of no change to them: whole or not, the values are the same ones."""
        data = {name: weight.data for name, weight in self._weights.items()}
        return [[piece_of(data, piece) for piece in pieces] for pieces in self._pieces]

    def drop(self) -> None:
        """The weights have no memory any more; what of them is on its way is waited for, and let go."""
        if self._under_way is not None:
            self._under_way.wait()
            self._under_way = None
        for weight in self._weights.values():
            _empty(weight)


def _empty(weight: torch.nn.Parameter) -> None:
    weight.untyped_storage().resize_(0)
