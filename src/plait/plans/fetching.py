"""Which weights a rank puts together when, under ZeRO 3: those of the layer in use and of the one that comes next.

    uses        0    1    2    3 │ 3    2    1         forward of a stage of 4 layers, and backward
    there       01   12   23   23│ 23   12   1         its layers that are whole meanwhile: two at most
    fetched     0,1  2    3                1

A *unit* is a set of weights that are used by the same layers, and travel together: a layer's own, or a table that the
first layer and the last have in common. The embedding's backward needs no weights. A pure function of the layers and
the schedule, so that the planner counts the very messages that the runtime sends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from plait.layers.layer import Layer
from plait.plans.holdings import Held
from plait.schedules.action import Kind

__all__ = ["Turn", "Unit", "turns", "units", "uses"]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The weights that are used by the layers at these places of a stage, and by no other."""

    weights: tuple[Held, ...]
    places: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Elements of its weights as one tensor rank holds them."""
        return sum(one.elements for one in self.weights)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What happens before the layer at `place` is used: units are `dropped`, then others are begun to be `fetched`, and
    those that are `needed` now waited for. `there`: all that is whole afterwards, or soon."""

    place: int
    dropped: tuple[int, ...]
    fetched: tuple[int, ...]
    needed: tuple[int, ...]
    there: tuple[int, ...]


def units(stage: Sequence[Layer], held: Sequence[Held]) -> tuple[Unit, ...]:
    """The units of a stage, by first use; `held` are its weights as a tensor rank holds them, in forward order."""
    grouped: dict[tuple[int, ...], list[Held]] = {}
    for one in held:
        name = one.weight.name
        places = tuple(n for n, layer in enumerate(stage) if any(weight.name == name for weight in layer.weights))
        grouped.setdefault(places, []).append(one)
    return tuple(Unit(weights=tuple(grouped[places]), places=places) for places in grouped)


def uses(stage: Sequence[Layer], program: Sequence[Kind]) -> Iterator[int]:
    """The places of the layers whose weights a stage's actions need, in order; what is no computation needs none."""
    first = int(stage[0].kind == "embedding")
    for kind in program:
        if kind is Kind.F:
            yield from range(len(stage))
        elif kind is Kind.B:
            yield from reversed(range(first, len(stage)))


def turns(known: Sequence[Unit], order: Sequence[int]) -> Iterator[Turn]:
    """What happens before each use of `order`."""
    there: tuple[int, ...] = ()
    for place, following in _with_next(order):
        needed = tuple(n for n, unit in enumerate(known) if place in unit.places)
        wanted = tuple(n for n, unit in enumerate(known) if n in needed or following in unit.places)
        yield Turn(
            place=place,
            dropped=tuple(n for n in there if n not in wanted),
            fetched=tuple(n for n in wanted if n not in there),
            needed=needed,
            there=wanted,
        )
        there = wanted


def _with_next(order: Sequence[int]) -> Iterator[tuple[int, int | None]]:
    """Each use with the next one that is of another layer."""
    following: list[int | None] = [None]
    for later, earlier in pairwise(reversed(order)):
        following.append(following[-1] if later == earlier else later)
    yield from zip(order, reversed(following), strict=True)
